"""Condition ``dropout-stability``: does the network survive that half of its neurons are dropped?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from connectivity_hooks.contracts import Condition, Verdict, option
from connectivity_hooks.features import Observation
from connectivity_hooks_theorem.conditions.outputs import own_loss, own_outputs
from connectivity_hooks_theorem.conditions.prefixes import Masked, outputs_of_each
from connectivity_hooks_theorem.conditions.scaling import best_scale, mean_losses, wrong

UNIT = "increase of the loss"


@dataclass(frozen=True)
class Options:
    """Options of `DropoutStability`."""

    fraction: float = option(0.5, "Share of neurons kept at every layer; the rest is dropped.", gt=0, le=1)
    draws: int = option(5, "Random choices of neurons tried at each layer.", ge=1)
    epsilon: float = option(0.05, "Increase of the loss that the best choice may cost.", ge=0)
    rescale: bool = option(True, "Multiply the outputs by the best scalar.")


class DropoutStability(Condition):
    """Whether the network keeps its loss when from a layer on part of the neurons is dropped.

    The condition of Kuditipudi et al. (2019) and of Shevchenko and Mondelli (2020), which the theorem of Nguyen,
    Bréchet and Mondelli (arXiv 2102.09671) improves on: from a layer on, at most the share ``fraction`` of the neurons
    of it and of every later layer looked at is kept, everything else stays as it is, biases included, and the outputs
    are multiplied by the best scalar. The measured figure is the loss of the best of ``draws`` choices minus the
    network's own; the layer holds when that is at most ``epsilon``. With every neuron kept and ``rescale`` off it is 0
    exactly. Channels are the neurons of feature maps. Layers that are not looked at are not dropped from.

    Time: for every layer draws forward passes over the data from that layer on, all draws in one batch, or whole ones
    where the model cannot be gone on with from a layer (`prefixes`); memory: draws outputs (N, C) of one layer, or of
    as many as the observation's budget holds.
    """

    name = "dropout-stability"
    Options = Options

    def check(self, observation: Observation) -> Iterator[Verdict]:
        """Yield a verdict for every layer, or one for the network where it has no outputs with a loss."""
        own = own_outputs(observation)
        base = own if isinstance(own, str) else own_loss(observation, own)
        if isinstance(own, str) or isinstance(base, str):
            yield Verdict.invalid(self.name, None, str(base))
            return
        questions = self._questions(observation)
        draws = next((len(masks[layer]) for layer, masks in questions.items()), 1)
        answers = outputs_of_each(observation, questions, draws, draws * own.numel() * own.element_size())
        found: dict[str, Verdict] = {}
        for masked in self.progress.track(answers, "dropping neurons", len(questions)):
            found[masked.layer] = self._verdict(observation, masked, questions[masked.layer][masked.layer], base)
        for layer in observation.layers:
            yield found.get(layer) or Verdict.invalid(self.name, layer, observation.why_not(layer))

    def _questions(self, observation: Observation) -> dict[str, dict[str, Tensor]]:
        """Return for each layer that can be measured the masks of it and of every later one."""
        widths, layers = observation.widths(), list(observation.layers)
        generator = torch.Generator().manual_seed(self.seed)
        questions = {}
        for layer in widths:
            later = [name for name in layers[layers.index(layer) :] if name in widths]
            questions[layer] = {name: self._draw(widths[name], generator) for name in later}
        return questions

    def _draw(self, width: int, generator: torch.Generator) -> Tensor:
        kept = max(1, int(self.options.fraction * width))
        draws = 1 if kept == width and self.options.fraction == 1 else self.options.draws
        order = torch.rand(draws, width, generator=generator).argsort(1)
        return torch.zeros(draws, width).scatter_(1, order[:, :kept], 1.0)

    def _verdict(self, observation: Observation, masked: Masked, masks: Tensor, base: float) -> Verdict:
        layer, outputs = masked.layer, masked.outputs
        if masked.spoilt:
            return Verdict.invalid(self.name, layer, "its features hold NaN or Inf")
        targets = observation.targets().to(outputs.device)
        plain = mean_losses(outputs, targets, observation.loss)
        scale, losses = best_scale(outputs, targets, observation.loss) if self.options.rescale else (None, plain)
        if not bool(torch.isfinite(losses).any()):
            return Verdict.invalid(self.name, layer, "the outputs hold NaN or Inf")
        best = int(losses.nan_to_num(float("inf")).argmin())
        increase = float(losses[best]) - base
        details: dict[str, float | int | str | None] = {
            "loss": float(losses[best]),
            "loss_own": base,
            "loss_worst": float(losses.max()),
            "loss_unscaled": float(plain[best]),
            "scale": 1.0 if scale is None else float(scale[best]),
            "errors": wrong(outputs[best], targets, observation.loss),
            "kept": int(masks[0].sum()),
            "neurons": masks.shape[1],
            "samples": len(targets),
        }
        allowed = self.options.epsilon
        return Verdict(self.name, layer, increase <= allowed, increase, allowed, UNIT, details=details)
