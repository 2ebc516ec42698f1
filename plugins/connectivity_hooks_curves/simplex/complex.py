"""A volume of low loss: simplices that share vertices, drawn from and walked through."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.records import Table
from connectivity_hooks_curves.simplex.combination import combined_weights
from connectivity_hooks_curves.simplex.star import uniform
from connectivity_hooks_curves.simplex.volume import gram, log_sum, log_volume


@dataclass(frozen=True)
class Vertex:
    """What a vertex is made of.

    Attributes:
        file: Name of the checkpoint; empty of a trained connector, and so are the next two.
        sha256: Digest of its bytes.
        dtype: Floating type it was stored in.
        alignment: What an aligner did to it, or None.
    """

    file: str = ""
    sha256: str = ""
    dtype: str = ""
    alignment: Table | None = None

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint, and no connector."""
        return bool(self.file)


class Place(NamedTuple):
    """A point of a complex: the number of a simplex, and the shares of its vertices, ≥ 0, together 1."""

    simplex: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Complex:
    """Simplices of one dimension between checkpoints and connectors.

    Memory: the weights of all vertices.

    Attributes:
        weights: Of each vertex; the checkpoints come first.
        vertices: What each is made of.
        simplices: Numbers of the vertices of each simplex.
        coordinates: Names of the trained parameters, one of each that are tied: the space that the volume is in.
        dtypes: Types that the first checkpoint stores its tensors in, by name, where they differ from those of weights.
        options: What it was trained with.
        training: How that ended.
        facts: What makes the model's function beside its own weights, see `Adapter.facts`; empty where it is not known.

    Raises:
        ValueError: These do not fit together.
    """

    weights: tuple[Weights, ...]
    vertices: tuple[Vertex, ...]
    simplices: tuple[tuple[int, ...], ...]
    coordinates: tuple[str, ...]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_simplices(self.simplices, len(self.vertices))
        if len(self.weights) != len(self.vertices):
            raise ValueError(f"expected weights of {len(self.vertices)} vertices, found {len(self.weights)}")

    @property
    def dimension(self) -> int:
        """Dimension of its simplices."""
        return len(self.simplices[0]) - 1

    @cached_property
    def log_volumes(self) -> tuple[float, ...]:
        """Of each simplex log V, in float64: of its coordinates as they are stored; −inf where it is flat.

        Time: a pass over the vertices of each simplex.
        """
        return tuple(self._log_volume(simplex) for simplex in self.simplices)

    @property
    def log_volume(self) -> float:
        """Log of the volume of all simplices together."""
        return log_sum(self.log_volumes)

    @property
    def edge(self) -> float:
        """Length of the edges of a right-angled simplex as large as all together: what log V is in weights' units."""
        return math.exp((self.log_volume + math.lgamma(self.dimension + 1)) / self.dimension)

    def drawn(self, seed: int, number: int) -> Place:
        """Return a uniform place: a simplex by its volume, in it w ~ Dir(1); the same for one seed and number.

        Raises:
            InputError: There is no volume to draw from.
        """
        if math.isinf(self.log_volume):
            raise InputError("the simplex is flat: its volume is 0, and no place in it is drawn; give weights instead")
        generator = random.Random(f"{seed} {number}")
        parts = [math.exp(each - self.log_volume) for each in self.log_volumes]
        simplex = generator.choices(range(len(parts)), parts)[0]
        return Place(simplex, uniform(generator, self.dimension + 1))

    def placed(self, shares: Sequence[float]) -> Place:
        """Return the place with these shares of all vertices.

        Raises:
            InputError: They are not one for each vertex, are negative, do not add up to 1, or lie in no simplex.
        """
        count, total = len(self.vertices), math.fsum(shares)
        if len(shares) != count or min(shares) < 0 or not abs(total - 1) <= _SUM:
            found = ", ".join(f"{share:g}" for share in shares[:20])
            raise InputError(f"weights: expected {count}, one for each vertex, ≥ 0 and together 1, found {found}")
        used = {vertex for vertex, share in enumerate(shares) if share > 0}
        for number, simplex in enumerate(self.simplices):
            if used <= set(simplex):
                return Place(number, tuple(shares[vertex] / total for vertex in simplex))
        named = " and ".join(str(vertex + 1) for vertex in sorted(used))
        raise InputError(f"weights: vertices {named} are in no simplex together; the simplices are {self.in_words()}")

    def at(self, place: Place) -> Weights:
        """Return the weights at a place; integers are those of the first checkpoint."""
        found = combined_weights([self.weights[vertex] for vertex in self.simplices[place.simplex]], place.shares)
        return {name: w if w.is_floating_point() else self.weights[0][name] for name, w in found.items()}

    def route(self, start: int, end: int) -> Path:
        """Return the way between two vertices that stays inside: through the middle of what their simplices share.

        A first end that was aligned is no checkpoint bit for bit, which a path file cannot say: it then names no ends.

        Raises:
            InputError: There is no such vertex, both are one, or no simplices of theirs share a vertex.
        """
        count = len(self.vertices)
        if not (0 <= start < count and 0 <= end < count) or start == end:
            raise InputError(f"a route: expected two vertices of 1 to {count}, found {start + 1} and {end + 1}")
        ends = (self.vertices[start], self.vertices[end])
        named = all(vertex.is_checkpoint for vertex in ends) and ends[0].alignment is None
        path = Path.from_points([self.weights[start], *self._between(start, end), self.weights[end]])
        return Path(
            start=path.start,
            edits=path.edits,
            positions=path.positions,
            guarantees=path.guarantees,
            end_points=(_end_point(ends[0]), _end_point(ends[1])) if named else None,
            alignment=ends[1].alignment if named else None,
            builder="simplex",
            options=self.options,
            facts=self.facts,
        )

    def name(self, vertex: int) -> str:
        """Return what a vertex is called: its file, with its number where files are called alike, or its connector."""
        files = [each.file for each in self.vertices]
        file = files[vertex]
        if not file:
            return f"connector {files[: vertex + 1].count('')}"
        return file if files.count(file) == 1 else f"{file} ({vertex + 1})"

    def in_words(self) -> str:
        """Return the vertices of each simplex, counted from 1."""
        return ", ".join("-".join(str(vertex + 1) for vertex in simplex) for simplex in self.simplices)

    def _between(self, start: int, end: int) -> list[Weights]:
        left = [simplex for simplex in self.simplices if start in simplex]
        if any(end in simplex for simplex in left):
            return []
        right = [simplex for simplex in self.simplices if end in simplex]
        shared = max((sorted(set(one) & set(other)) for one in left for other in right), key=len)
        if not shared:
            raise InputError(f"a route from {start + 1} to {end + 1}: no simplices of theirs share a vertex")
        middle = combined_weights([self.weights[vertex] for vertex in shared], [1 / len(shared)] * len(shared))
        return [middle]

    def _log_volume(self, simplex: Sequence[int]) -> float:
        inner = simplex[::-1]  # from a connector: all other edges are about as long
        parts = ([self.weights[vertex][name].reshape(-1) for vertex in inner] for name in self.coordinates)
        return log_volume(gram(parts))


_SUM = 1e-6
"""Shares that are typed with a few digits add up to 1 but for so much."""


def require_simplices(simplices: Sequence[Sequence[int]], vertices: int) -> None:
    """Raise `ValueError` where simplices are not of these vertices, of one dimension, and of all of them."""
    sizes = {len(simplex) for simplex in simplices}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError("simplices: expected one or more, all of one number of vertices, 2 at least")
    for simplex in simplices:
        if len(set(simplex)) != len(simplex) or min(simplex) < 0 or max(simplex) >= vertices:
            raise ValueError(f"simplices: expected different vertices from 0 to {vertices - 1} in each of them")
    if set().union(*simplices) != set(range(vertices)):
        raise ValueError("simplices: some vertices are in none of them")


def star_of(modes: int, connectors: int) -> tuple[tuple[int, ...], ...]:
    """Return the simplices that join modes through connectors that all of them share; modes are counted first."""
    return tuple((mode, *range(modes, modes + connectors)) for mode in range(modes))


def _end_point(vertex: Vertex) -> EndPoint:
    return EndPoint(vertex.file, vertex.sha256, vertex.dtype)
