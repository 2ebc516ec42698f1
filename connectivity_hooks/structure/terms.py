"""What the entries along an axis are made of, while a program is gone through: found out by setting axes equal.

An axis is a term: an `Atom` (neurons of which no more is known yet), a `Product` (a reshape of several axes, the last
running fastest) or a `Concatenation`. Operations set terms equal (`unify`), take them apart, or pin what may not move.
What is left of it at the end is a layout (`layouts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

POSITIONS = "positions"
"""Pins samples, pixels, kernel entries: nobody would call them neurons."""

UNALIGNED = "blocks that do not line up"


class Atom:
    """Neurons of which no more is known than how many they are, and what pins them.

    Args:
        size: How many.
        pins: Why they stay where they are, in words; none where they may move.
    """

    __slots__ = ("meaning", "pins", "size")

    def __init__(self, size: int, pins: Iterable[str] = ()) -> None:
        self.size = size
        self.pins = dict.fromkeys(pins)
        self.meaning: Term | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """Several axes reshaped into one; the last runs fastest."""

    factors: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Entries."""
        return math.prod(factor.size for factor in self.factors)


@dataclass(frozen=True, eq=False)
class Concatenation:
    """Several axes one after the other."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Entries."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, eq=False)
class Family:
    """Neurons that are others at each index along another axis of a tensor, as those of queries, keys and values.

    It lives between the reshape that makes that axis and the operation that takes it apart, see `told_apart`.
    """

    members: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Entries."""
        return self.members[0].size


Term: TypeAlias = Atom | Product | Concatenation
Several: TypeAlias = Term | Family


def positions(size: int) -> Atom:
    """Return an axis of positions."""
    return Atom(size, (POSITIONS,))


def product(factors: Iterable[Term]) -> Term:
    """Return a reshape of several axes into one; a single one is itself."""
    found = tuple(factors)
    return found[0] if len(found) == 1 else Product(found) if found else positions(1)


def concatenation(parts: Iterable[Term]) -> Term:
    """Return several axes one after the other; a single one is itself, empty ones are left out."""
    found = tuple(part for part in parts if part.size)
    return found[0] if len(found) == 1 else Concatenation(found) if found else positions(0)


def resolved(term: Term) -> Term:
    """Return a term in atoms without a further meaning; products in products and the like are flat."""
    while isinstance(term, Atom):
        if term.meaning is None:
            return term
        term = term.meaning
    if isinstance(term, Product):
        flat = [resolved(factor) for factor in term.factors]
        return product(inner for one in flat for inner in (one.factors if isinstance(one, Product) else (one,)))
    flat = [resolved(part) for part in term.parts]
    return concatenation(inner for one in flat for inner in (one.parts if isinstance(one, Concatenation) else (one,)))


def atoms(term: Term) -> Iterator[Atom]:
    """Yield the atoms of a term."""
    term = resolved(term)
    if isinstance(term, Atom):
        yield term
        return
    for inner in term.factors if isinstance(term, Product) else term.parts:
        yield from atoms(inner)


def pin(term: Term, reasons: Iterable[str]) -> None:
    """Let all neurons of a term stay where they are."""
    for atom in atoms(term):
        atom.pins.update(dict.fromkeys(reasons))


def unify(one: Term, other: Term) -> None:
    """Set two axes of one length equal, neuron by neuron; where no structure serves both, pin them."""
    one, other = _without_ones(one), _without_ones(other)
    if one is other:
        return
    if one.size != other.size:
        pin(one, (UNALIGNED,))
        pin(other, (UNALIGNED,))
    elif isinstance(one, Atom):
        _mean(one, other)
    elif isinstance(other, Atom):
        _mean(other, one)
    elif isinstance(one, Product) and isinstance(other, Product):
        _align(one, other)
    else:
        _align_parts(*((one, other) if isinstance(other, Concatenation) else (other, one)))


def _without_ones(term: Term) -> Term:
    """Return a resolved term without the factors of length 1, which say nothing."""
    term = resolved(term)
    if not isinstance(term, Product):
        return term
    return product([factor for factor in term.factors if factor.size != 1] or term.factors[:1])


def _mean(atom: Atom, term: Term) -> None:
    """Give an atom a meaning."""
    inner = list(atoms(term))
    if atom in inner:
        pin(term, (UNALIGNED,))
        return
    pin(term, atom.pins)
    atom.meaning = term


def _align(one: Product, other: Product) -> None:
    """Set two products equal, as far from the left as their factors have common divisors."""
    first, second = resolved(one.factors[0]), resolved(other.factors[0])
    common = math.gcd(first.size, second.size)
    if common == 1:
        pin(one, (UNALIGNED,))
        pin(other, (UNALIGNED,))
        return
    (left, left_rest), (right, right_rest) = split_product(first, common), split_product(second, common)
    unify(left, right)
    unify(product([left_rest, *one.factors[1:]]), product([right_rest, *other.factors[1:]]))


def _align_parts(one: Term, other: Concatenation) -> None:
    first = other.parts[0]
    part, rest = split_concatenation(one, first.size)
    unify(part, first)
    unify(rest, concatenation(other.parts[1:]))


def split_product(term: Term, lead: int) -> tuple[Term, Term]:
    """Return the slow and the fast axis of a term that is a reshape of both.

    Args:
        term: A term of n entries.
        lead: Length of the slow axis, a divisor of n.
    """
    term = resolved(term)
    if lead == term.size:
        return term, positions(1)
    if lead == 1:
        return positions(1), term
    if isinstance(term, Atom):
        slow, fast = Atom(lead, term.pins), Atom(term.size // lead, term.pins)
        term.meaning = Product((slow, fast))
        return slow, fast
    return _split_factors(term, lead) if isinstance(term, Product) else _split_whole_rows(term, lead)


def _split_factors(term: Product, lead: int) -> tuple[Term, Term]:
    taken: list[Term] = []
    left = list(term.factors)
    while lead > 1:
        first = left[0]
        common = math.gcd(lead, first.size)
        if common == 1 and first.size != 1:
            pin(term, (UNALIGNED,))
            size = term.size // math.prod(one.size for one in taken) // lead
            return product([*taken, Atom(lead, (UNALIGNED,))]), Atom(size, (UNALIGNED,))
        slow, fast = split_product(first, common)
        taken.append(slow)
        left[:1] = [fast] if common < first.size else []
        lead //= common
    return product(taken), product(left)


def _split_whole_rows(term: Concatenation, lead: int) -> tuple[Term, Term]:
    """Take a concatenation of whole rows for a reshape: what is done inside one row is done inside all.

    Parts of one row each are told apart by their numbers; those of several, such as heads, keep what their rows are.
    """
    size = term.size // lead
    if any(part.size % size for part in term.parts):
        pin(term, (UNALIGNED,))
        return Atom(lead, (UNALIGNED,)), Atom(size, (UNALIGNED,))
    slow, fast = zip(*(split_product(part, part.size // size) for part in term.parts), strict=True)
    for row in fast[1:]:
        unify(fast[0], row)
    return (positions(lead) if len(slow) == lead else concatenation(slow)), fast[0]


def split_concatenation(term: Term, count: int) -> tuple[Term, Term]:
    """Return the first `count` entries of a term, and the rest."""
    term = _without_ones(term)
    if count == 0:
        return positions(0), term
    if count == term.size:
        return term, positions(0)
    if isinstance(term, Atom):
        head, tail = Atom(count, term.pins), Atom(term.size - count, term.pins)
        term.meaning = Concatenation((head, tail))
        return head, tail
    return _split_parts(term, count) if isinstance(term, Concatenation) else _split_rows(term, count)


def _split_parts(term: Concatenation, count: int) -> tuple[Term, Term]:
    taken, left = list[Term](), list(term.parts)
    while count:
        head, tail = split_concatenation(left[0], min(count, left[0].size))
        taken.append(head)
        left[:1] = [tail] if tail.size else []
        count -= head.size
    return concatenation(taken), concatenation(left)


def _split_rows(term: Product, count: int) -> tuple[Term, Term]:
    """Take whole rows of a product: their number is a position, what is inside a row is the same in all."""
    row = product(term.factors[1:])
    rows = term.factors[0].size
    if count % row.size:
        pin(term, (UNALIGNED,))
        return Atom(count, (UNALIGNED,)), Atom(term.size - count, (UNALIGNED,))
    head = count // row.size
    first, second = split_concatenation(term.factors[0], head)
    return product([first, row]), product([second, row]) if rows > head else positions(0)
