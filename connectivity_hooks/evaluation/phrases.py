"""Parts of sentences: what loss and error do along a path, in words and figures."""

from __future__ import annotations

import math
from typing import Literal

from connectivity_hooks.evaluation.climb import Climb
from connectivity_hooks.evaluation.finding import Finding
from connectivity_hooks.evaluation.perplexity import shown
from connectivity_hooks.evaluation.units import error_in

Figure = Literal["loss", "error"]


def with_interval(value: float, half: float, of: Figure) -> str:
    """Return a figure with the half-width of its interval, errors in points; of one sample there is no interval."""
    if of == "error":
        return f"{100 * value:.2f} {f'± {100 * half:.2f} ' if math.isfinite(half) else ''}points"
    # what is beyond the digits shown of the figure itself is rounding
    half = 0.0 if half <= 1e-5 * abs(value) else half
    return f"{value:.4g} ± {half:.2g}" if math.isfinite(half) else f"{value:.4g}"


def threshold(value: float, of: Figure) -> str:
    """Return what a rise counts from, errors in points."""
    return f"{100 * value:.4g} points" if of == "error" else f"{value:.2g}"


def limits(least: float, most: float, of: Figure) -> tuple[str, str]:
    """Return both limits of a rise's interval, errors in points, with two digits of what lies between them.

    The ends are part of the path and no rise, so that the largest rise is never below 0.
    """
    low, high = max(least, 0.0), max(most, 0.0)
    if of == "error":
        return f"{100 * low:.2f}", f"{100 * high:.2f}"
    width = high - low
    decimals = 1 - math.floor(math.log10(width)) if 0 < width < math.inf else 0
    # six decimals are what a reader counts; figures that need more, or have no width, come in two digits
    form = f".{max(decimals, 0)}f" if decimals <= 6 and width > 0 else ".2g"
    return f"{low:{form}}" if low else "0", f"{high:{form}}"


def has_interval(height: float, least: float, most: float) -> bool:
    """Say whether an interval tells anything: not of one sample, nor where it is narrower than the digits shown."""
    return math.isfinite(most) and math.isfinite(height) and most - max(least, 0.0) > 1e-5 * abs(height)


def rise(climb: Climb, of: Figure) -> str:
    """Return the largest rise with its interval: one meaning in the words and in the tables, see `Climb`."""
    height = f"{100 * climb.height:.2f} points" if of == "error" else f"{climb.height:.4g}"
    if not has_interval(climb.height, climb.least, climb.most):
        return height
    return f"{height} (95 % interval {' to '.join(limits(climb.least, climb.most, of))})"


def at_most(climb: Climb, of: Figure) -> str:
    """Return the upper limit of a rise."""
    return limits(climb.least, climb.most, of)[1] + (" points" if of == "error" else "")


def rises(split: str, found: Finding) -> str:
    """Say what rises and by how much, and what does not; `found` is a barrier between finite ends."""
    loss, error, wrong = found.loss, found.error, error_in(found.unit)
    if loss.state == "rises" and not math.isfinite(loss.height):
        return f"the {split} loss is not a finite number at t = {loss.t:.3f}"
    lost = loss.state == "rises" and not found.loss_is_low
    above, beside = "above the worse end's", in_perplexity(found)
    if error is None:
        return f"the {split} loss rises {rise(loss, 'loss')} {above}{beside}"
    if lost and error.state == "rises":
        amounts = f"{rise(loss, 'loss')} and the {wrong} {rise(error, 'error')}"
        return f"the {split} loss rises {amounts} {above}{beside}"
    if lost:
        return f"the {split} loss rises {rise(loss, 'loss')} {above}{_but(error, 'error', wrong)}{beside}"
    but = "" if found.loss_is_low else _but(loss, "loss", "loss")
    return f"the {split} {wrong} rises {rise(error, 'error')} {above}{but}{beside}"


def stays(split: str, found: Finding) -> str:
    """Say that neither rises, or by no more than what does not count; `found` is ``connected`` or ``proven``."""
    loss, error, wrong = found.loss, found.error, error_in(found.unit)
    above, beside = "above the worse end's", in_perplexity(found)
    if error is None:
        return f"the {split} loss {_little(loss, 'loss')} {above}{beside}"
    if loss.is_flat and error.is_flat:
        return f"neither the {split} loss nor the {wrong} rises {above}{beside}"
    if error.is_flat:
        return f"the {split} loss {_little(loss, 'loss')} {above}, and the {wrong} does not{beside}"
    return f"the {split} loss {_little(loss, 'loss')} and the {wrong} {_little(error, 'error')} {above}{beside}"


def unclear(found: Finding, path: str, samples: str) -> str:
    """Say of what it is not known whether it rises, and what was seen of it; `found` is undecided."""
    climbs: dict[Figure, Climb] = {"loss": found.loss}
    if found.error is not None:
        climbs["error"] = found.error
    names: dict[Figure, str] = {"loss": "loss", "error": error_in(found.unit)}
    beside = in_perplexity(found)
    unknown: list[Figure] = [of for of, climb in climbs.items() if climb.state == "undecided"]
    if len(unknown) == 2:
        neither = all(climb.is_flat for climb in climbs.values())
        each = [f"the {names[of]} {_seen(climb, of)}" for of, climb in climbs.items()]
        seen = "neither rises" if neither else " and ".join(each)
        return f"whether loss and {names['error']} rise along {path}: on {samples} {seen}{beside}."
    (of,) = unknown
    rest = "".join(f" The {names[other]} {_little(climbs[other], other)}." for other in climbs if other != of)
    return f"whether the {names[of]} rises along {path}: on {samples} it {_seen(climbs[of], of)}{beside}.{rest}"


def in_perplexity(found: Finding) -> str:
    """Say what the perplexity is at the worse end and at the highest point between; nothing where there is none."""
    if found.perplexity is None:
        return ""
    worse, between = map(shown, found.perplexity)
    return f" (perplexity {worse} at the worse end, {between} at t = {found.loss.t:.3f})"


def _little(climb: Climb, of: Figure) -> str:
    return "does not rise" if climb.is_flat else f"rises no more than {at_most(climb, of)}"


def _seen(climb: Climb, of: Figure) -> str:
    return "does not rise" if climb.is_flat else f"rises {rise(climb, of)} above the worse end's"


def _but(climb: Climb, of: Figure, name: str) -> str:
    """Say what the other figure, which goes by a name, does where one rises."""
    if climb.state == "undecided":
        return f"; too few samples to tell whether the {name} does"
    return f", the {name} does not" if climb.is_flat else f", the {name} no more than {at_most(climb, of)}"
