"""How a cross-entropy reads outputs and labels: what is done to both before they are compared.

All of it is linear in the outputs, so the cross-entropy stays convex in them, sample by sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss.shapes import LAST, classes


@dataclass(frozen=True)
class Reading:
    """How outputs and labels of integers are compared; probabilities are always compared as they are.

    Attributes:
        axis: On which axis of the outputs the classes are, see `shapes.classes`.
        shifted: Whether outputs (N, T, C) at a position answer for the label (N, T) of the next, as those of causal
            language models: ``outputs[:, :-1]`` is compared with ``labels[:, 1:]``.
        upsampled: Whether outputs (N, C, h, w) are brought to the size of labels (N, H, W), bilinearly.
        ignored: A label that is left out beside `IGNORED`.
    """

    axis: int | None = None
    shifted: bool = False
    upsampled: bool = False
    ignored: int = IGNORED

    @property
    def settled(self) -> bool:
        """Whether it is another than PyTorch's own, which a model was seen to have."""
        return self.shifted or self.upsampled or self.ignored != IGNORED

    def labels(self, targets: Tensor) -> Tensor:
        """Return those of labels (N, …) that are compared with anything; what is left out is `IGNORED`."""
        if targets.is_floating_point():
            return targets
        kept = targets[:, 1:] if self.shifted and targets.ndim > 1 else targets
        return kept if self.ignored == IGNORED else kept.masked_fill(kept == self.ignored, IGNORED)

    def pair(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs (N, C, …) and labels (N, …) as they are compared.

        Raises:
            InputError: They do not fit; the message has both shapes as they came.
        """
        if targets.is_floating_point():
            return classes(outputs, targets, self.axis)
        wanted = self.labels(targets)
        if self.shifted:
            if outputs.ndim != 3 or targets.shape != outputs.shape[:2]:
                raise InputError(
                    f"loss cross-entropy of the next token: labels {tuple(targets.shape)} do not fit outputs "
                    f"{tuple(outputs.shape)}; expected outputs (samples, positions, classes) and a label for each "
                    "position"
                )
            return classes(outputs[:, :-1], wanted, LAST)
        if self.upsampled:
            if outputs.ndim != 4 or targets.ndim != 3 or len(outputs) != len(targets):
                raise InputError(
                    f"loss cross-entropy of pixels: labels {tuple(targets.shape)} do not fit outputs "
                    f"{tuple(outputs.shape)}; expected outputs (samples, classes, rows, columns) and labels (samples, "
                    "rows, columns) of any size"
                )
            outputs = F.interpolate(outputs, size=targets.shape[1:], mode="bilinear", align_corners=False)
        return classes(outputs, wanted, self.axis)

    def parts(self, outputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what is scored at a time: sample by sample where outputs grow, else all at once."""
        if not self.upsampled or len(outputs) < 2:
            return [(outputs, targets)]
        return list(zip(outputs.split(1), targets.split(1), strict=True))


PLAIN = Reading()
"""As PyTorch compares them."""
