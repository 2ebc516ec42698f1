"""What an aligner did to the second end of a path, in words for a person."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

LONGEST = 100
"""Characters of a name or a reason: longer ones are no words of an aligner's."""

NAMED = 3
"""Of what was not used, so many are named; the record has them all."""

_MANY = 10**6  # spaces: no network has so many

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
    moved, deviation = _counts(record.get("moved")), _number(alignment.get("deviation"))
    name = _short(alignment.get("aligner")) or "an aligner that is not named"
    done = f"replaced by an equal copy aligned to {first}"
    if deviation == 0 and moved is not None and moved[0] == 0:
        done = f"compared with {first} and left as it is"
    facts = _facts(moved, _number(record.get("coverage")), deviation)
    inside = f" ({', '.join(facts)})" if facts else ""
    return f"{end} was {done} by {name}{inside}{_unused(record.get('demoted'))}."


def _facts(moved: tuple[int, int] | None, coverage: float | None, deviation: float | None) -> list[str]:
    facts = [] if moved is None else [f"{moved[0]} of {moved[1]} spaces moved"]
    facts += [] if coverage is None or coverage > 1 else [f"coverage {int(100 * coverage)} %"]
    if deviation is not None:
        facts.append(f"outputs moved by {deviation:.0e}, relative" if deviation else "outputs did not move")
    return facts


def _counts(found: object) -> tuple[int, int] | None:
    """Return how many spaces were moved, and of how many, or None."""
    spaces, of = (found.get(key) for key in ("spaces", "of")) if isinstance(found, Mapping) else (None, None)
    if type(spaces) is not int or type(of) is not int or not 0 <= spaces <= of < _MANY:
        return None
    return spaces, of


def _number(found: object) -> float | None:
    """Return a finite number that is not negative, or None."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    return float(found) if 0 <= found <= sys.float_info.max else None


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
