"""Losses: for each sample a sum and a weight, the errors they count, and whether they are convex in the outputs.

In reading order: `terms` (sums and weights), `loss` (what a loss is), `shapes` (which targets fit which outputs),
`reading` (what a cross-entropy compares with what), `named` and `contrastive` (the built-in losses), `models_own` (what
the model returns), `own` (a user's function), `checking` (all targets of a split), `alike` (what a model's own may be).
"""

from connectivity_hooks.model.batches import IGNORED
from connectivity_hooks.tasks.loss.checking import (
    CHANGING_WEIGHTS,
    check_probabilities,
    read_targets,
    settled,
)
from connectivity_hooks.tasks.loss.contrastive import CONTRASTIVE
from connectivity_hooks.tasks.loss.loss import Loss, Over, TermsOf
from connectivity_hooks.tasks.loss.models_own import NAME as MODELS_OWN
from connectivity_hooks.tasks.loss.models_own import counted, is_models_own, models_own
from connectivity_hooks.tasks.loss.named import LOSSES, cross_entropy
from connectivity_hooks.tasks.loss.own import AUTO, custom_loss, resolve_loss
from connectivity_hooks.tasks.loss.reading import Reading
from connectivity_hooks.tasks.loss.terms import Terms, joined

__all__ = [
    "AUTO",
    "CHANGING_WEIGHTS",
    "CONTRASTIVE",
    "IGNORED",
    "LOSSES",
    "MODELS_OWN",
    "Loss",
    "Over",
    "Reading",
    "Terms",
    "TermsOf",
    "check_probabilities",
    "counted",
    "cross_entropy",
    "custom_loss",
    "is_models_own",
    "joined",
    "models_own",
    "read_targets",
    "resolve_loss",
    "settled",
]
