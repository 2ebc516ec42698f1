"""The theorem of Nguyen, Bréchet and Mondelli (arXiv 2102.09671): its conditions, and its path."""

from __future__ import annotations

from connectivity_hooks.contracts import Builder, Command, Condition, hookimpl


@hookimpl
def register_conditions() -> list[type[Condition]]:
    """Offer the conditions on features."""
    from connectivity_hooks_theorem.conditions.dropout_stability import DropoutStability
    from connectivity_hooks_theorem.conditions.feature_rank import FeatureRank
    from connectivity_hooks_theorem.conditions.memorization import Memorization
    from connectivity_hooks_theorem.conditions.separability import Separability
    from connectivity_hooks_theorem.conditions.subnetwork import SubnetworkCondition

    return [Separability, DropoutStability, SubnetworkCondition, Memorization, FeatureRank]


@hookimpl
def register_builders() -> list[type[Builder]]:
    """Offer the path whose bound is proven."""
    from connectivity_hooks_theorem.certified.builder import Certified

    return [Certified]


@hookimpl
def register_commands() -> list[type[Command]]:
    """Offer the hub, and the star of paths to it."""
    from connectivity_hooks_theorem.commands import HubCommand, StarCommand

    return [HubCommand, StarCommand]
