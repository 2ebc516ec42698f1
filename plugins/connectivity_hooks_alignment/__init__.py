"""Aligners: the copy of a checkpoint, equal as a function, that lies nearest to another one; and `align`, for many."""

from __future__ import annotations

from connectivity_hooks.contracts import Aligner, Command, hookimpl


@hookimpl
def register_aligners() -> list[type[Aligner]]:
    """Offer the aligners."""
    from connectivity_hooks_alignment.activation_matching import ActivationMatching
    from connectivity_hooks_alignment.best import Best
    from connectivity_hooks_alignment.learned_matching import LearnedMatching
    from connectivity_hooks_alignment.weight_matching import WeightMatching

    return [WeightMatching, ActivationMatching, LearnedMatching, Best]


@hookimpl
def register_commands() -> list[type[Command]]:
    """Offer the alignment of many checkpoints."""
    from connectivity_hooks_alignment.commands import AlignCommand

    return [AlignCommand]
