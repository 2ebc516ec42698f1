"""The output layer of a sub-network: fitted convexly to what enters it, and scaled to reach a loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from connectivity_hooks.tasks.loss import Loss
from connectivity_hooks_theorem.certified.passing import Head
from connectivity_hooks_theorem.probes.logistic import fit_logistic

_LBFGS_STEPS = 60


@dataclass(frozen=True)
class Goal:
    """What a sub-network is trained for.

    Attributes:
        targets: (N,) labels or (N, …).
        loss: The task's loss, convex in the outputs.
        outputs: (N, C) outputs of the end itself.
        target: The loss to reach.
    """

    targets: Tensor
    loss: Loss
    outputs: Tensor
    target: float

    @property
    def classifies(self) -> bool:
        """Whether the loss is the cross-entropy of one label for each sample."""
        return self.loss.name == "cross-entropy" and not self.targets.is_floating_point() and self.targets.ndim == 1

    def of(self, samples: slice) -> Goal:
        """Return the goal on some of the samples."""
        return replace(self, targets=self.targets[samples], outputs=self.outputs[samples])

    def measure(self, outputs: Tensor) -> float:
        """Return the mean loss of outputs (N, C), in float64."""
        return float(self.loss.per_sample(outputs.double(), self.targets).mean())

    def errors(self, outputs: Tensor) -> float | None:
        """Return the share of wrong predictions; None where the loss knows none."""
        return None if self.loss.errors is None else float(self.loss.errors(outputs, self.targets).mean())


def fit_head(features: Tensor, goal: Goal, *, bias: bool, start: Head | None = None, ridge: float = 0.0) -> Head:
    """Return the best affine map from features (N, F) to outputs, stopped once it reaches the goal's loss.

    Cross-entropy: multinomial logistic regression. Other losses: L-BFGS over the full batch.
    """
    if goal.classifies:
        every = torch.arange(features.shape[1], device=features.device)[None]
        fit = fit_logistic(
            features.float(),
            goal.targets,
            every,
            classes=goal.outputs.shape[1],
            ridge=ridge,
            loss_target=goal.target,
            tolerance=1e-3,
            max_iterations=40 if ridge == 0 else 300,
            intercept=bias,
            start=None if start is None else (start.weight[None], None if start.bias is None else start.bias[None]),
        )
        return Head(fit.weight[0].to(features), fit.bias[0].to(features) if bias else None)
    return _descend(features, goal, bias, start, ridge)


def _descend(features: Tensor, goal: Goal, bias: bool, start: Head | None, ridge: float) -> Head:
    scale = features.square().mean().sqrt().clamp_min(1e-12)
    outputs = goal.outputs.shape[1]
    weight = torch.zeros(outputs, features.shape[1]).to(features) if start is None else start.weight * scale
    offset = torch.zeros(outputs).to(features) if start is None or start.bias is None else start.bias.clone()
    variables = [weight.clone().requires_grad_(), *([offset.requires_grad_()] if bias else [])]
    scaled = features / scale
    optimizer = torch.optim.LBFGS(variables, max_iter=_LBFGS_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        fitted = scaled @ variables[0].T + (variables[1] if bias else 0)
        value: Tensor = goal.loss(fitted, goal.targets) + ridge * variables[0].square().sum()
        value.backward()
        return value

    optimizer.step(objective)
    return Head(variables[0].detach() / scale, variables[1].detach() if bias else None)


@torch.no_grad()
def best_factor(outputs: Tensor, goal: Goal) -> float:
    """Return the least factor ≥ 1 by which outputs reach the goal's loss, or else the factor with the lowest loss.

    Scaling changes no prediction; where every sample is classified rightly it brings the loss as low as is asked. Only
    the cross-entropy of labels is scaled.
    """
    if not goal.classifies:
        return 1.0
    best, lowest = 1.0, float("inf")
    for power in range(-8, 81):
        factor: float = 2 ** (power / 8)
        loss = goal.measure(outputs * factor)
        if factor >= 1 and loss <= goal.target:
            return factor
        if loss < lowest:
            best, lowest = factor, loss
        elif loss > 2 * lowest:
            break
    return best
