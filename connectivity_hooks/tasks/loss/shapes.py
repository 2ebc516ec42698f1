"""Which targets fit which outputs: what can be read in one way only is taken so, the rest is refused.

Shapes are compared, never broadcast: (N, 1) beside (N,) would become (N, N).
"""

from __future__ import annotations

from torch import Tensor

from connectivity_hooks.errors import InputError

LAST, SECOND = -1, 1
"""Axes of the outputs that may be the classes: PyTorch's losses take the second, Transformers' models give the last."""


def elements(loss: str, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs (N, …) and targets of the same shape; what differs by axes of length 1 alone is the same.

    Raises:
        InputError: They differ otherwise; the message has both shapes as they came.
    """
    if outputs.shape == targets.shape and outputs.ndim:
        return outputs, targets
    if outputs.ndim and _long(outputs.shape) == _long(targets.shape):
        return outputs, targets.reshape(outputs.shape)
    several = _look_like_labels(outputs, targets)
    labels = "; for labels of several classes give loss= (--loss) cross-entropy" if several else ""
    if targets.ndim < outputs.ndim - 1:
        labels = "; for an autoencoder let the loader give its inputs alone, without labels"
    raise InputError(
        f"loss {loss}: outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; expected a target "
        f"for each output, of the same shape{labels}"
    )


def classes(outputs: Tensor, targets: Tensor, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """Return outputs (N, C, …) and int64 labels (N, …), or probabilities (N, C, …).

    Args:
        outputs: (N, C, …), or (N, …, C) where labels (N, …) fit that alone.
        targets: Labels of integers, or probabilities of the outputs' own shape.
        axis: The only axis on which classes may be, 1 or -1. None: the second, as in PyTorch, where labels fit both,
            which takes as many positions as classes.

    Raises:
        InputError: They do not fit; the message has both shapes as they came.
    """
    _require_classes(outputs)
    if targets.is_floating_point():
        return _probabilities(outputs, targets)
    fitting = [way for way in axes(outputs, targets) if axis in (None, way)]
    if not fitting:
        raise InputError(_unfit(outputs, targets))
    if outputs.shape[fitting[0]] < 2:
        raise InputError(_one_class(outputs))
    logits = outputs if fitting[0] == SECOND else outputs.movedim(-1, 1)
    return logits, targets.reshape(logits.shape[:1] + logits.shape[2:]).long()


def axes(outputs: Tensor, labels: Tensor) -> list[int]:
    """Return on which axes of the outputs classes can be for labels (N, …) to fit: the second, the last, or both."""
    shape = outputs.shape
    found = [SECOND] if _long(shape[:1] + shape[2:]) == _long(labels.shape) else []
    return [*found, LAST] if outputs.ndim > 2 and _long(shape[:-1]) == _long(labels.shape) else found


def _require_classes(outputs: Tensor) -> None:
    if outputs.ndim < 2:
        raise InputError(
            f"loss cross-entropy: expected outputs (samples, classes, …), found {tuple(outputs.shape)}; for one logit "
            "give loss= (--loss) bce, for real targets mse"
        )
    if outputs.ndim == 2 and outputs.shape[1] < 2:
        raise InputError(_one_class(outputs))


def _probabilities(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    shape = tuple(outputs.shape)
    if outputs.shape == targets.shape:
        if shape[1] < 2:
            raise InputError(_one_class(outputs))
        return outputs, targets
    if axes(outputs, targets):
        raise InputError(
            f"loss cross-entropy: labels {tuple(targets.shape)} are floating numbers; store them as integers"
        )
    raise InputError(f"loss cross-entropy: class probabilities {tuple(targets.shape)} do not fit outputs {shape}")


def _one_class(outputs: Tensor) -> str:
    return (
        f"loss cross-entropy: outputs {tuple(outputs.shape)} have one class, for which it is always 0; for one logit "
        "or a mask give loss= (--loss) bce, for real targets mse"
    )


def _unfit(outputs: Tensor, labels: Tensor) -> str:
    shape, found = tuple(outputs.shape), tuple(labels.shape)
    text = f"loss cross-entropy: labels {found} do not fit outputs {shape}; expected labels {(shape[0], *shape[2:])}"
    if shape == found:
        several = "for several labels of a sample, each 0 or 1, give loss= (--loss) bce"
        return f"{text}, or probabilities of classes as floating numbers; {several}"
    if len(shape) == 3 and (shape[1], shape[0]) == found:  # a sequence-first model
        return f"{text}; let the model return outputs.transpose(0, 1), with the samples first"
    return f"{text}, or {shape[:-1]} where classes are the last axis" if len(shape) > 2 else text


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of length 1, but with that of the samples."""
    return shape[:1] + tuple(size for size in shape[1:] if size != 1)


def _look_like_labels(outputs: Tensor, targets: Tensor) -> bool:
    return outputs.ndim > 1 and not targets.is_floating_point() and bool(axes(outputs, targets))
