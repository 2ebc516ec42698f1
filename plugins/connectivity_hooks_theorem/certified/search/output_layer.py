"""The output layer of a sub-network: fitted convexly to what enters it, and scaled to reach a loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks_theorem.certified.search.neuron_pairs import Head
from connectivity_hooks_theorem.probes.least_squares import fit_least_squares
from connectivity_hooks_theorem.probes.logistic import fit_logistic

_LBFGS_STEPS = 60
_COARSE = 4
_LARGEST = 80


@dataclass(frozen=True)
class Goal:
    """What a sub-network is trained for.

    Attributes:
        targets: (N,) labels or (N, …).
        loss: The task's loss, convex in the outputs.
        classes: Outputs C.
        outputs: (N, C) outputs of the end itself, to learn from; None where targets are learnt.
        target: The loss to reach.
    """

    targets: Tensor
    loss: Loss
    classes: int
    outputs: Tensor | None
    target: float

    @property
    def classifies(self) -> bool:
        """Whether the loss is the cross-entropy of one label for each sample."""
        return self.loss.name == "cross-entropy" and not self.targets.is_floating_point() and self.targets.ndim == 1

    @property
    def imitates(self) -> bool:
        """Whether a classifier learns the end's own outputs."""
        return self.classifies and self.outputs is not None

    def of(self, samples: slice) -> Goal:
        """Return the goal on some of the samples."""
        outputs = None if self.outputs is None else self.outputs[samples]
        return replace(self, targets=self.targets[samples], outputs=outputs)

    def wished(self) -> Tensor:
        """Return outputs (N, C) worth imitating: the end's own up to a shift of all classes, or else the targets."""
        if self.outputs is None:
            return F.one_hot(self.targets, self.classes).float() if self.classifies else self.targets
        return self.outputs - self.outputs.mean(1, keepdim=True) if self.classifies else self.outputs

    def measure(self, outputs: Tensor) -> float:
        """Return the mean loss of outputs (N, C), in float64."""
        return float(self.loss.measure(outputs, self.targets).mean())

    def errors(self, outputs: Tensor) -> float | None:
        """Return the share of wrong predictions; None where the loss knows none."""
        return None if self.loss.errors is None else float(self.loss.errors(outputs, self.targets).mean())

    def rise(self, errors: float | None) -> float:
        """Return how much larger a share of wrong predictions is than that of what is imitated."""
        return (errors or 0.0) - (self.errors(self.wished()) or 0.0)


def closest_head(features: Tensor, goal: Goal, *, bias: bool) -> Head:
    """Return the affine map from features (N, F) whose outputs are closest to those wished for, in closed form."""
    return Head(*fit_least_squares(features, goal.wished().to(features), intercept=bias))


def fit_head(features: Tensor, goal: Goal, *, bias: bool, ridge: float = 0.0, patient: bool = False) -> Head:
    """Return the best affine map from features (N, F) to outputs, stopped once it reaches the goal's loss.

    It begins with the map closest to the end's own outputs, which may reach the goal already; it also makes fewer
    errors on unseen samples than what is fitted to the labels from nothing. Cross-entropy: multinomial logistic
    regression. Other losses: L-BFGS over the full batch. Memory: about 15·N·C floats.

    Args:
        features: (N, F); they are overwritten.
        goal: What to reach.
        bias: Whether the map has one.
        ridge: Weight of the squared norm of the weights, on standardised features.
        patient: Go on for long, for want of anything better than an affine map.
    """
    start = closest_head(features, goal, bias=bias)
    start = start.scaled(best_factor(start(features), goal))
    if ridge == 0 and goal.measure(start(features)) <= goal.target:
        return start
    if goal.classifies:
        every = torch.arange(features.shape[1], device=features.device)[None]
        fit = fit_logistic(
            features.float(),
            goal.targets,
            every,
            classes=goal.classes,
            ridge=ridge,
            loss_target=goal.target,
            tolerance=1e-5 if patient else 1e-3,
            max_iterations=1000 if patient else 40 if ridge == 0 else 300,
            intercept=bias,
            start=(start.weight[None], None if start.bias is None else start.bias[None]),
            overwrite=True,
        )
        return Head(fit.weight[0].to(features), fit.bias[0].to(features) if bias else None)
    return _descend(features, goal, bias, start, ridge)


def _descend(features: Tensor, goal: Goal, bias: bool, start: Head, ridge: float) -> Head:
    scale = features.square().mean().sqrt().clamp_min(1e-12)
    offset = [] if start.bias is None else [start.bias.clone().requires_grad_()]
    variables = [(start.weight * scale).requires_grad_(), *offset]
    optimizer = torch.optim.LBFGS(variables, max_iter=_LBFGS_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        fitted = F.linear(features, variables[0] / scale, variables[1] if bias else None)
        value: Tensor = goal.loss(fitted, goal.targets) + ridge * variables[0].square().sum()
        value.backward()
        return value

    optimizer.step(objective)
    return Head(variables[0].detach() / scale, variables[1].detach() if bias else None)


@torch.no_grad()
def best_factor(outputs: Tensor, goal: Goal) -> float:
    """Return the least factor ≥ 1 by which outputs reach the goal's loss, or else the factor with the lowest loss.

    Factors are powers of 2^⅛; the loss is convex in them. Scaling changes no prediction; where every sample is
    classified rightly it brings the loss as low as is asked. Only the cross-entropy of labels is scaled.
    """
    if not goal.classifies:
        return 1.0
    losses = {0: goal.measure(outputs)}
    for step in (_COARSE, -_COARSE):  # upwards, then downwards, as long as the loss falls
        power = 0
        while losses[power] > goal.target and abs(power) < _LARGEST:
            losses[power + step] = goal.measure(outputs * 2 ** ((power + step) / 8))
            if losses[power + step] >= losses[power]:
                break
            power += step
        if losses[power] <= goal.target:
            break
    best = min(losses, key=lambda power: losses[power])
    for power in range(max(0, best - _COARSE + 1), best):  # no larger than needed
        if losses[best] <= goal.target and goal.measure(outputs * 2 ** (power / 8)) <= goal.target:
            best = power
            break
    factor: float = 2 ** (best / 8)
    return factor
