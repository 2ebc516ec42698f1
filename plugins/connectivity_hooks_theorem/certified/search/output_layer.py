"""The output layer of a sub-network: fitted convexly to what enters it, and scaled to reach a loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks_theorem.certified.search.goal import Goal
from connectivity_hooks_theorem.probes.least_squares import fit_least_squares
from connectivity_hooks_theorem.probes.logistic import ITERATIONS, TOLERANCE, fit_logistic

_FEW_ITERATIONS = 40
"""Iterations of a probe that may give up. Separable features reach their goal in less; what does not is left to trained
layers, as the first layers of the MLPs in docs/benchmarks.md are."""

_ROUGHLY = 1e-3
"""Tolerance of a probe that may give up: what gains less than a thousandth of its loss in a step is not separable."""

_MANY_ITERATIONS = 1000
"""Iterations in front of the output layer, where an affine map is all there is: the bound pays for what is missing."""

_LBFGS_STEPS = 60
"""L-BFGS iterations for losses other than cross-entropy, begun at the least-squares map: for squared error the optimum
itself, for Huber and the like close to it."""

_LBFGS_HISTORY = 20
"""Steps remembered: each costs two copies of the output layer, which is small beside the features."""

_PER_DOUBLING = 8
"""Factors tried for each doubling: one is then at most 2^⅛, nine per cent, larger than needed."""

_COARSE = 4
"""Steps of 2^½ until the goal is reached, and finer ones only below that: each costs a pass over the outputs."""

_LARGEST = 10 * _PER_DOUBLING
"""Factors up to 2^10: where a thousandfold margin does not reach the goal, some sample is classified wrongly."""


@dataclass(frozen=True)
class OutputLayer:
    """An affine map from the flattened features at a cut to the outputs.

    Attributes:
        weight: (C, F).
        bias: (C,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __call__(self, features: Tensor) -> Tensor:
        """Return the outputs (N, C) for features (N, F)."""
        return F.linear(features, self.weight, self.bias)

    def scaled(self, factor: float) -> OutputLayer:
        """Return the map whose outputs are larger by a factor."""
        return OutputLayer(self.weight * factor, None if self.bias is None else self.bias * factor)


def closest_output_layer(features: Tensor, goal: Goal, *, bias: bool) -> OutputLayer:
    """Return the affine map from features (N, F) whose outputs are closest to those wished for, in closed form."""
    return OutputLayer(*fit_least_squares(features, goal.wished().to(features), intercept=bias))


def fit_output_layer(
    features: Tensor, goal: Goal, *, bias: bool, ridge: float = 0.0, patient: bool = False
) -> OutputLayer:
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
    start = closest_output_layer(features, goal, bias=bias)
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
            tolerance=TOLERANCE if patient else _ROUGHLY,
            max_iterations=_MANY_ITERATIONS if patient else _FEW_ITERATIONS if ridge == 0 else ITERATIONS,
            intercept=bias,
            start=(start.weight[None], None if start.bias is None else start.bias[None]),
            overwrite=True,
        )
        return OutputLayer(fit.weight[0].to(features), fit.bias[0].to(features) if bias else None)
    return _descend(features, goal, bias, start, ridge)


def _descend(features: Tensor, goal: Goal, bias: bool, start: OutputLayer, ridge: float) -> OutputLayer:
    scale = features.square().mean().sqrt().clamp_min(1e-12)  # of dead features alone any scale will do
    offset = [] if start.bias is None else [start.bias.clone().requires_grad_()]
    variables = [(start.weight * scale).requires_grad_(), *offset]
    optimizer = torch.optim.LBFGS(
        variables, max_iter=_LBFGS_STEPS, history_size=_LBFGS_HISTORY, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        fitted = F.linear(features, variables[0] / scale, variables[1] if bias else None)
        value: Tensor = goal.loss(fitted, goal.targets) + ridge * variables[0].square().sum()
        value.backward()
        return value

    optimizer.step(objective)
    return OutputLayer(variables[0].detach() / scale, variables[1].detach() if bias else None)


@torch.no_grad()
def best_factor(outputs: Tensor, goal: Goal) -> float:
    """Return the least factor ≥ 1 by which outputs reach the goal's loss, or else the factor with the lowest loss.

    Factors are powers of 2^⅛ up to 2^10; the loss is convex in them. Scaling changes no prediction; where every sample
    is classified rightly it brings the loss as low as is asked. Only the cross-entropy of labels is scaled.
    """
    if not goal.classifies:
        return 1.0
    losses = {0: goal.measure(outputs)}
    for step in (_COARSE, -_COARSE):  # upwards, then downwards, as long as the loss falls
        power = 0
        while losses[power] > goal.target and abs(power) < _LARGEST:
            losses[power + step] = goal.measure(outputs * 2 ** ((power + step) / _PER_DOUBLING))
            if losses[power + step] >= losses[power]:
                break
            power += step
        if losses[power] <= goal.target:
            break
    best = min(losses, key=lambda power: losses[power])
    for power in range(max(0, best - _COARSE + 1), best):  # no larger than needed
        if losses[best] <= goal.target and goal.measure(outputs * 2 ** (power / _PER_DOUBLING)) <= goal.target:
            best = power
            break
    factor: float = 2 ** (best / _PER_DOUBLING)
    return factor
