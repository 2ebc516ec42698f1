"""The contrastive loss of pairs: every sample against the others of its batch, as CLIP computes it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks.loss.loss import Loss
from connectivity_hooks.tasks.loss.terms import Terms

NAME = "contrastive"


def _fit(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as they came; the targets are the diagonal, so that none are needed."""
    if outputs.ndim != 2 or outputs.shape[0] != outputs.shape[1]:
        raise InputError(
            f"loss {NAME}: outputs have shape {tuple(outputs.shape)}; expected those (n, n) of one batch, each of its "
            "n samples against each"
        )
    return outputs, targets


def _terms(outputs: Tensor, targets: Tensor) -> Terms:
    """Return of each sample the mean of its row's and its column's cross-entropy (Radford et al. 2021, figure 3)."""
    logits, _ = _fit(outputs, targets)
    pairs = torch.arange(len(logits), device=logits.device)
    rows, columns = (F.cross_entropy(each, pairs, reduction="none") for each in (logits, logits.T))
    sums = (rows + columns) / 2
    return Terms(sums, torch.ones_like(sums))


def _errors(outputs: Tensor, targets: Tensor) -> Terms:
    """Return for how many of a sample's row and column another sample of the batch is the answer."""
    logits, _ = _fit(outputs, targets)
    pairs = torch.arange(len(logits), device=logits.device)
    wrong = (logits.argmax(1) != pairs).float() + (logits.argmax(0) != pairs).float()
    return Terms(wrong, torch.full_like(wrong, 2))


# A sample's term is convex in the outputs of its whole batch, and proofs need it in the sample's own.
CONTRASTIVE = Loss(NAME, _terms, _errors, convex=False, fit=_fit, coupled=True)
