"""What a sub-network is trained for: outputs to learn, and a loss to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.tasks import Loss


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
            return self._outputs_of_targets()
        return self.outputs - self.outputs.mean(1, keepdim=True) if self.classifies else self.outputs

    def _outputs_of_targets(self) -> Tensor:
        """Return outputs (N, C) like the targets, to begin from: 0 where a loss of the user's own takes other ones."""
        count, integers = len(self.targets), not self.targets.is_floating_point()
        if not integers and self.targets.shape == (count, self.classes):
            return self.targets
        if self.targets.numel() == count * self.classes:
            return self.targets.reshape(count, self.classes).float()
        if integers and self.targets.numel() == count and self.targets.min() >= 0 and self.targets.max() < self.classes:
            return F.one_hot(self.targets.reshape(count).long(), self.classes).float()
        return torch.zeros(count, self.classes, device=self.targets.device)

    def measure(self, outputs: Tensor) -> float:
        """Return the mean loss of outputs (N, C), in float64."""
        return float(self.loss.measure(outputs, self.targets).mean())

    def errors(self, outputs: Tensor) -> float | None:
        """Return the share of wrong predictions; None where the loss knows none."""
        return None if self.loss.errors is None else float(self.loss.errors(outputs, self.targets).mean())

    def rise(self, errors: float | None) -> float:
        """Return how much larger a share of wrong predictions is than that of what is imitated."""
        return (errors or 0.0) - (self.errors(self.wished()) or 0.0)
