"""The verdict on an average, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectivity_hooks_averaging.soups.result import Average


_FACTOR = re.compile(r"\blora_(embedding_)?B\b(?!.*bias$)")
"""As PEFT names them."""


def answer_of(found: Average) -> str:
    """Return the verdict in a few words."""
    if not found.is_mean:
        return (
            "not connected"
            if all(out.barrier is not None for out in found.left_out)
            else "no mean that was tried is better"
        )
    if found.overflows:
        return "not held by its type"
    if found.is_worse:
        return "worse than its worst member"
    return "connected as far as measured" if not found.left_out else "connected but for those left out"


def verdict_of(found: Average) -> list[str]:
    """Return the verdict, a sentence each."""
    sentences = [_headline(found)]
    sentences += [_on_equal(found, name, other) for name, other in found.equal.items()]
    sentences += [
        f"Once they are aligned, {near.a} and {near.b} differ by {near.distance:.1g} of their size alone, and "
        "yet count as two."
        for near in found.near
        if {near.a, near.b} <= set(found.members)
    ]
    sentences += [f"Left out: {out.name}, since {out.why}." for out in found.left_out]
    if found.is_mean:
        sentences += _on_better_ones(found)
        sentences += _on_batch_norm(found)
        sentences += _on_correction(found)
        sentences += _on_counters(found)
        sentences += _on_products(found)
    return sentences


def _headline(found: Average) -> str:
    count = len(found.names)
    if not found.is_mean:
        if any(out.barrier is None for out in found.left_out):
            return _on_no_better_mean(found)
        return f"Nothing is averaged: of {count} checkpoints no two are connected."
    if found.overflows:
        key = found.overflows[0]
        kind = str(found.weights[key].dtype).removeprefix("torch.")
        return (
            f"Not to be used: the mean of {', '.join(found.members)} has values in {key} that {kind}, the type of "
            f"{found.names[0]}, cannot hold; give one first that is stored in a wider type."
        )
    own, worst, loss = found.deciding
    part = "loss on the held-out part" if found.held_out is not None else f"{found.task.train.name} loss"
    members = ", ".join(found.members)
    if found.is_worse:
        return (
            f"Not to be used, and not written without --force: the mean of {members} is worse than the worst of them, "
            f"{part} {own:.4g} and {loss:.4g} ({worst})."
        )
    return (
        f"Averaged {len(found.members)} of {count} checkpoints ({members}): no line between them, or from their "
        f"running mean, has a barrier above {found.threshold:.4g}; {part} of the mean {own:.4g}, of the worst of them "
        f"{loss:.4g}."
    )


def _on_equal(found: Average, name: str, other: str) -> str:
    aligned = " once it is aligned" if name in found.records else ""
    share = found.shares[other]
    counts = " and counts once" if share == 1 else f"; together they count as {share:g}"
    return f"{name} has the weights of {other}{aligned}{counts}."


def _on_no_better_mean(found: Average) -> str:
    """Say which means were tried, and which checkpoint is the best of all, tried or not."""
    one, losses = found.members[0], found.losses
    tried = ", ".join(out.name for out in found.left_out if out.barrier is None)
    best = min(losses, key=lambda name: losses[name])
    own, least = losses[one], losses[best]
    sentence = (
        f"Nothing is averaged: of {one} and any one of those connected with it ({tried}) the mean is worse on the "
        f"held-out part than {one} by itself, {own:.4g}"
    )
    if not least < own:
        return f"{sentence}; use {one}."
    return f"{sentence}. Of all that are given {best} has the lowest loss there, {least:.4g}: use {best}."


def _on_better_ones(found: Average) -> list[str]:
    losses, (own, _, _) = found.losses, found.deciding
    better = [out.name for out in found.left_out if losses[out.name] < own]
    if not better:
        return []
    best = min(better, key=lambda name: losses[name])
    return [f"By itself {best}, which is left out, has a lower loss than the mean: {losses[best]:.4g}."]


def _on_correction(found: Average) -> list[str]:
    name = found.measuring["correction"]
    return [] if name == "none" else [f"Losses, those of single checkpoints too, are after {name}."]


def _on_batch_norm(found: Average) -> list[str]:
    if not found.has_batch_norm or found.measuring["correction"] != "none":
        return []
    return [
        "The networks have batch norm, and the mean of their running statistics need not fit the mean of their "
        "weights: --correct batch-norm measures them anew."
    ]


def _on_counters(found: Average) -> list[str]:
    if not found.kept_counters:
        return []
    return [
        f"{', '.join(found.kept_counters[:3])}{' …' if len(found.kept_counters) > 3 else ''} count batches, differ, "
        f"and are those of {found.members[0]}; no output depends on them."
    ]


def _on_products(found: Average) -> list[str]:
    return [*_on_averaged_products(found), *_on_factors(found)]


def _on_factors(found: Average) -> list[str]:
    plain = [key for key in found.weights if _FACTOR.search(key) and key not in found.product_errors]
    if not plain:
        return []
    return [
        f"{plain[0]}{' …' if len(plain) > 1 else ''}: seem to be factors of products B·A, as no library says for this "
        "model; they are averaged one by one, which is not the mean of the products."
    ]


def _on_averaged_products(found: Average) -> list[str]:
    if not found.product_errors:
        return []
    largest = max(found.product_errors.values())
    return [
        "Adapters are averaged by their products B·A, cut to the rank of the first: where that changes most, "
        f"by {100 * largest:.1f} % of the product's size. The lines are of the factors, as they are aligned."
    ]
