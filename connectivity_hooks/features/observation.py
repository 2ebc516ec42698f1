"""An observation: one checkpoint's features on probe data, as conditions see them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.axis_trace import AxisTrace
from connectivity_hooks.features.calls import called, modules_of
from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.layout import Layout, Named, NamedLayouts
from connectivity_hooks.features.layouts import SIZES, followed, layout_of
from connectivity_hooks.features.library import told_axes
from connectivity_hooks.features.module_axes import no_samples
from connectivity_hooks.features.noting import noting_capture
from connectivity_hooks.features.padding import AVERAGED_IN, LEFT_OUT, Tokens
from connectivity_hooks.features.pooling import Pooling, Pools
from connectivity_hooks.features.view import neurons_last, positions_behind
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.model.inputs import Inputs, mapped
from connectivity_hooks.model.running import PLAIN, Forward, forward
from connectivity_hooks.strangers import Pass, guarded_call
from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks.tasks.own_loss import require_no_copying, settle_loss
from connectivity_hooks.tasks.split import Split

_Take: TypeAlias = Callable[[str, Tensor, Tokens, int], Tensor]

_OTHER_POSITIONS = "the mask is of positions {}, its own are {}, and nothing tells which of them are padding"


@dataclass
class Observation:
    """A module in evaluation mode, probe data, and the layers to look at.

    `features` holds as many layers at once as `budget` allows, so that few layers cost one pass over the data and many
    wide ones cost several instead of the memory: at most max(budget, one layer's 4·N·n bytes). A condition that streams
    uses `batches` and needs one batch's features only.

    A layer that cannot be measured is left out of both, and `why_not` says why. Which axis of a layer is what is read
    before the first batch from two small ones of different sizes (`connectivity_hooks.features.layouts`), and rows are
    compared with the samples of every batch. Where the inputs have an attention mask, tokens that are padding are left
    out of the features (`connectivity_hooks.features.padding`).

    Attributes:
        model: The module; a condition leaves it as it was.
        split: Probe data, N samples.
        loss: The task's loss.
        layers: Dotted names of the layers, or ``NAME:input``; ``NAME[0]``, ``NAME[1]`` … for the calls of a module that
            is called several times in one pass.
        batch_size: Samples of one forward pass.
        pool: How positions become neurons: ``mean``, ``first``, ``last``, ``class`` or ``flatten``, for all layers or
            by layer (`connectivity_hooks.features.pooling`).
        forward: How the model is run, and which of what it returns are its outputs.
        axes: Which axis is what, for layers where it is to be named (`connectivity_hooks.features.layout`).
        budget: Bytes of features kept at once.
        left_out: Layers that were proposed and cannot be looked at, with the reason.
        problems: Layers that could not be measured so far, with the reason.
        padded: Layers in which padding was averaged in so far, with the reason.
    """

    model: nn.Module
    split: Split
    loss: Loss
    layers: Sequence[str]
    batch_size: int = 512
    pool: Pools = "mean"
    forward: Forward = PLAIN
    axes: NamedLayouts = None
    budget: int = 2 * 1024**3
    left_out: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    padded: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _masked: set[str] = field(default_factory=set, init=False, repr=False)
    _positions: set[str] = field(default_factory=set, init=False, repr=False)
    _pooling: Pooling | None = field(default=None, init=False, repr=False)
    _layouts: dict[str, Layout] = field(default_factory=dict, init=False, repr=False)
    _widths: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _unused: list[str] = field(default_factory=list, init=False, repr=False)
    _tried: bool = field(default=False, init=False, repr=False)
    _held: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def batches(self, layers: Sequence[str] | None = None) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield ({layer: (rows, n)}, targets) batch by batch; a layer that cannot be measured is missing."""
        self.widths()
        wanted = self.layers if layers is None else layers
        yield from self._looked(self.split.batches(self.batch_size), wanted, self._neurons)

    def at_positions(self, layer: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a layer's features (rows, n, …) with their positions behind, and targets, batch by batch.

        Nothing is pooled and padding is among the positions: it is for answers at positions. A layer that cannot be
        measured yields nothing, and `why_not` says why.
        """
        self.widths()
        for features, targets in self._looked(self.split.batches(self.batch_size), [layer], self._unpooled):
            if layer in features:
                yield features[layer], targets

    def features(self, layer: str) -> Tensor:
        """Return the features (N, n) of one layer in float32; raise `KeyError` if it cannot be measured."""
        if layer not in self._held:
            self._held.clear()
            self._held = self._gather(self._affordable(layer))
        if layer not in self._held:
            raise KeyError(f"{layer}: {self.why_not(layer)}")
        return self._held[layer]

    def why_not(self, layer: str) -> str:
        """Return why a layer cannot be measured, as far as it was looked at."""
        return self.problems.get(layer, "the layer never fired")

    def targets(self) -> Tensor:
        """Return the targets (N, …) in the order of `features`."""
        return self.split.targets()

    def require_loss(self, outputs: Tensor) -> None:
        """Refuse a loss that the model's own outputs (N, …) and the targets do not fit, before it is computed.

        From then on `loss` reads targets as the model's own loss is seen to do, see `settle_loss`.

        Raises:
            InputError: Shapes or types do not fit, or labels cannot be what the loss expects.
        """
        if self.loss.coupled:
            raise InputError(
                f"loss {self.loss.name}: a sample's loss depends on its batch, and copies of the samples are passed at "
                "once here; take a loss of single samples"
            )
        few, targets = next(iter(self.split.head(2).batches(2))), self.targets().to(outputs.device)
        with evaluation_mode(self.model):
            self.loss, _ = settle_loss(
                self.model, self.loss, few, outputs[: len(few[1])], targets, self.split.name, forward=self.forward
            )
        require_no_copying(self.model, self.loss, few)
        self.loss.check(outputs, targets)

    def widths(self) -> dict[str, int]:
        """Return the neurons of each layer that can be measured, as far as two small batches say."""
        self.layouts()
        return {name: self._widths[name] for name in self.layers if name in self._widths.keys() - self.problems}

    def layouts(self) -> dict[str, Layout]:
        """Return which axis of each layer is what, for those that can be measured as far as two small batches say."""
        if not self._tried:
            self._tried = True
            self._read_layouts()
        return {name: self._layouts[name] for name in self.layers if name in self._layouts.keys() - self.problems}

    @property
    def pooling(self) -> Pooling:
        """How the positions of each layer become neurons."""
        if self._pooling is None:
            self._pooling = Pooling(self.model, self.pool)
        return self._pooling

    def pooled(self, layer: str) -> dict[str, float | int | str | None]:
        """Return in words how a layer's positions became neurons, for a verdict's details; nothing where it has none.

        It is known of what was looked at so far.
        """
        if layer not in self._positions:
            return {}
        padding = AVERAGED_IN if layer in self.padded else LEFT_OUT if layer in self._masked else None
        return {"pool": self.pooling.asked(layer), **({} if padding is None else {"padding": padding})}

    def remarks(self) -> list[str]:
        """Return in lines what a person should know of how features were taken, as far as they were looked at."""
        by_reason: dict[str, list[str]] = {}
        for layer, reason in self.padded.items():
            by_reason.setdefault(reason, []).append(layer)
        return [f"padding is averaged in with {', '.join(layers)}: {reason}" for reason, layers in by_reason.items()]

    def unused_pools(self) -> list[str]:
        """Return in words which of `pool` no layer asks for: they would do nothing."""
        self.layouts()
        return self.pooling.unused()

    def unused_axes(self) -> list[str]:
        """Return in words which of `axes` no layer asks for: they would do nothing."""
        self.layouts()
        return self._unused

    def by_call(self, *, proposed: bool) -> Observation:
        """Return the observation with a layer that is called several times replaced by its calls.

        Args:
            proposed: Nobody named the layers: those that cannot be measured are left out, and named in `left_out`.
        """
        found = replace(self, layers=called(self.layers, self._fired()))
        usable = found.widths()
        if proposed:
            found.left_out = {name: found.why_not(name) for name in found.layers if name not in usable}
            found.layers = tuple(usable)
        return found

    def _fired(self) -> list[str]:
        seen = noting_capture(self.model, modules_of(self.layers))
        with seen, evaluation_mode(self.model):
            self._run(self._few()[1])
        return list(seen)

    def _run(self, inputs: Inputs) -> None:
        with torch.no_grad(), guarded_call(Pass(self.model, inputs)):
            forward(self.model, inputs)

    def _few(self) -> list[Inputs]:
        """Return the inputs of as many samples as `SIZES` says, of one batch, some twice where it has fewer."""
        inputs, targets = next(iter(self.split.head(max(SIZES)).batches(max(SIZES))))
        return [_taken(inputs, torch.arange(count) % len(targets), len(targets)) for count in SIZES]

    def _read_layouts(self) -> None:
        named, told, passes = Named(self.axes), told_axes(self.model), []
        for inputs in self._few():
            seen = noting_capture(self.model, modules_of(self.layers))
            with seen, evaluation_mode(self.model):
                trace = self._followed(inputs)
            passes.append(seen)
        for layer in self.layers:
            try:
                features = [seen[layer] for seen in passes]
                self._layouts[layer] = layout_of(self.model, layer, features, trace, named, told)
                self._neurons(layer, features[1], Tokens(self.model, None), SIZES[1])
            except KeyError:
                self.problems[layer] = next(seen.why_not(layer) for seen in passes if layer not in seen)
            except InputError as error:
                self.problems[layer] = str(error)
        self._unused = named.unused()

    def _followed(self, inputs: Inputs) -> AxisTrace | None:
        """Run the model and follow the neurons; None where they cannot be followed and it is run plainly."""
        with contextlib.suppress(Exception), followed(self.model) as trace:
            self._run(inputs)
            return trace
        self._run(inputs)
        return None

    def _looked(
        self, loader: Iterator[tuple[Any, Tensor]], layers: Sequence[str], take: _Take
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Run the model on batches, and yield what can be measured; what cannot is noted."""
        seen = noting_capture(self.model, modules_of(layers))
        with seen, evaluation_mode(self.model):
            for inputs, targets in loader:
                self._run(inputs)
                tokens = Tokens(self.model, inputs)
                count = len(targets)
                found = {name: self._measured(name, seen, partial(take, name), tokens, count) for name in layers}
                yield {layer: value for layer, value in found.items() if value is not None}, targets

    def _measured(
        self, layer: str, seen: Capture, take: Callable[[Tensor, Tokens, int], Tensor], tokens: Tokens, samples: int
    ) -> Tensor | None:
        """Return the rows of a layer; None for one that cannot be measured, which is noted."""
        if layer in self.problems:
            return None
        try:
            return take(seen[layer], tokens, samples)
        except KeyError:
            self.problems[layer] = seen.why_not(layer)
        except InputError as error:
            self.problems[layer] = str(error)
        return None

    def _neurons(self, layer: str, feature: Tensor, tokens: Tokens, samples: int) -> Tensor:
        layout = self._layout(layer, feature, samples)
        neurons = neurons_last(feature, layout, pool=self.pooling.of(layer), tokens=self._known(layer, feature, tokens))
        width = self._widths.setdefault(layer, neurons.shape[1])
        if width != neurons.shape[1]:
            raise InputError(f"it has {width} neurons in one batch and {neurons.shape[1]} in another")
        return neurons

    def _unpooled(self, layer: str, feature: Tensor, tokens: Tokens, samples: int) -> Tensor:
        return positions_behind(feature, self._layout(layer, feature, samples)).float()

    def _layout(self, layer: str, feature: Tensor, samples: int) -> Layout:
        layout = self._layouts[layer]
        if not layout.fits(feature.ndim) or feature.shape[layout.samples] != samples:
            raise InputError(no_samples(feature.shape, samples))
        return layout

    def _known(self, layer: str, feature: Tensor, tokens: Tokens) -> Tensor | None:
        """Return which positions of a feature are no padding; where a mask says no such, that is noted."""
        rows = positions_behind(feature, self._layouts[layer])
        if rows.ndim < 3:
            return None
        self._positions.add(layer)
        given = tokens.of(layer)
        if given is None or layer in self.padded:
            return None
        known = tokens.at(layer, rows)
        padded = (layer in self._masked and known is not None) or not bool(given.all())
        if known is not None and padded:
            self._masked.add(layer)
        elif padded:
            self.padded[layer] = _OTHER_POSITIONS.format(tuple(given.shape[1:]), tuple(rows.shape[2:]))
        return known

    def _affordable(self, layer: str) -> list[str]:
        widths = self.widths()
        chosen, left = [layer], self.budget - 4 * len(self.split) * widths.get(layer, 0)
        for name in list(self.layers)[list(self.layers).index(layer) + 1 :] if layer in self.layers else []:
            left -= 4 * len(self.split) * widths.get(name, 0)
            if left < 0:
                break
            chosen.append(name)
        return chosen

    def _gather(self, layers: Sequence[str]) -> dict[str, Tensor]:
        gathered: dict[str, Tensor] = {}
        row = 0
        for features, targets in self.batches(layers):
            for name, value in features.items():
                if name not in gathered:
                    gathered[name] = torch.empty(len(self.split), value.shape[1], device=value.device)
                gathered[name][row : row + len(value)] = value
            row += len(targets)
        if row != len(self.split):
            raise InputError(f"data: {self.split.name} gave {row} samples in one pass; expected {len(self.split)}")
        return {name: value for name, value in gathered.items() if name not in self.problems}


def _taken(inputs: Inputs, rows: Tensor, samples: int) -> Inputs:
    """Return rows of the inputs of a batch; what has no row for each sample stays."""

    def taken(value: Tensor) -> Tensor:
        return value[rows.to(value.device)] if value.ndim and len(value) == samples else value

    return mapped(taken, inputs)
