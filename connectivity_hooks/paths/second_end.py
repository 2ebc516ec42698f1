"""What an aligner did to the second end of a path, in words for a person."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

LONGEST = 100
"""Characters of a name or a reason: longer ones are no words of an aligner's."""

NAMED = 3
"""Of what was not used, so many are named; the record has them all."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def second_end_in_words(alignment: Mapping[str, object], end: str = "B", first: str = "A") -> str:
    """Say in one sentence that the second checkpoint was replaced, by what, and what was not done.

    A record comes from a file, or from an aligner of which nothing is known: what of it is not as ours have it is left
    out.

    Args:
        alignment: As a path has it (``Path.alignment``).
        end: What the second checkpoint is called.
        first: What the first is called.
    """
    record = alignment.get("record")
    record = record if isinstance(record, Mapping) else {}
    facts = [*_moved(record.get("moved")), *_coverage(record.get("coverage")), *_deviation(alignment.get("deviation"))]
    name = _short(alignment.get("aligner")) or "an aligner that is not named"
    inside = f" ({', '.join(facts)})" if facts else ""
    return f"{end} was replaced by an equal copy aligned to {first} by {name}{inside}{_unused(record.get('demoted'))}."


def _moved(found: object) -> list[str]:
    counts = [found.get(key) for key in ("spaces", "of")] if isinstance(found, Mapping) else []
    if len(counts) < 2 or not all(type(count) is int and 0 <= count < 10**9 for count in counts):
        return []
    return [f"{counts[0]} of {counts[1]} spaces moved"]


def _coverage(found: object) -> list[str]:
    return [f"coverage {100 * share:.0f} %"] if (share := _number(found)) is not None and share <= 1 else []


def _deviation(found: object) -> list[str]:
    size = _number(found)
    return [] if size is None else [f"outputs moved by {size:.0e}, relative" if size else "outputs did not move"]


def _number(found: object) -> float | None:
    """Return a finite number that is not negative, or None."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    return float(found) if 0 <= found < 1e300 and math.isfinite(found) else None


def _unused(found: object) -> str:
    reasons = [words for each in found if (words := _short(each))] if isinstance(found, (list, tuple)) else []
    if not reasons:
        return ""
    more = f"; and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    return f"; not used: {'; '.join(reasons[:NAMED])}{more}"


def _short(found: object) -> str:
    """Return a text on one line, its middle left out if it is long; nothing for what is no text."""
    text = " ".join(_CONTROL.sub(" ", found).split()) if isinstance(found, str) else ""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 :]}"
