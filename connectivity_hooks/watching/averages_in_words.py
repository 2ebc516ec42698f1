"""From which step on an average was connected to the trained weights, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from connectivity_hooks.watching.averages import AT_THE_ENDS, AVERAGE
from connectivity_hooks.watching.history import Row


def averages_in_words(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each average that was looked at."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row.condition == AVERAGE and row.layer is not None:
            curves.setdefault(row.layer, []).append(row)
    return [_sentence(name, curve) for name, curve in curves.items()]


def connected_since(curve: Sequence[Row]) -> int | None:
    """Return the step of the first check from which on every check showed no rise; None if the last one did not."""
    since = None
    for row in reversed(curve):
        if row.status != "holds":
            break
        since = row.step
    return since


def _sentence(name: str, curve: Sequence[Row]) -> str:
    last, since = curve[-1], connected_since(curve)
    who = "the average" if name == AVERAGE else f"the average {name}"
    if since is not None:
        checks = sum(row.step >= since for row in curve)
        seen = f"{checks} check{'s' if checks > 1 else ''} on the straight line between them showed no rise that counts"
        since_then = f"{_capital(who)} is connected to the trained weights from step {since} on, as far as measured"
        return f"{since_then}: {seen}.{_losses(last)}"
    at = f"at step {last.step}, the last check"
    if last.status == "fails":
        return f"{_capital(who)} is not connected to the trained weights {at}: {last.reason}."
    return f"Whether {who} is connected to the trained weights {at}, is not known: {last.reason}."


def _losses(last: Row) -> str:
    """Say what both ends are worth: a line may rise nowhere above an average that is no good yet."""
    trained, average = (last.details.get(name) for name in AT_THE_ENDS)
    if trained is None or average is None:
        return ""
    return f" At step {last.step} its loss is {average:.4g}, that of the trained weights {trained:.4g}."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
