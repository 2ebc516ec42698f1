"""Dataclasses made of what a file holds: the declared types, or a refusal that names the place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from connectivity_hooks.records import Table, typed


@dataclass(frozen=True)
class Part:
    size: float
    kind: Literal["x", "y"]


@dataclass(frozen=True)
class Whole:
    name: str
    count: int
    parts: Sequence[Part]
    ends: tuple[float, float] | None
    table: Mapping[str, Part]


VALID = {"name": "a", "count": 2, "parts": [{"size": 1, "kind": "x"}], "ends": [0, 1.5], "table": {}}


def test_a_valid_record_comes_back_in_its_types():
    made = typed(Whole, {**VALID, "table": {"p": {"size": 2.5, "kind": "y"}}})
    assert made == Whole("a", 2, (Part(1.0, "x"),), (0.0, 1.5), {"p": Part(2.5, "y")})
    assert type(made.parts[0].size) is float
    assert typed(Whole, {**VALID, "ends": None}).ends is None
    assert typed(Table, {"a": [1, {}]}) == {"a": [1, {}]}
    assert typed(Any, "anything") == "anything"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "name: expected str, found 3"),
        ({"count": True}, "count: expected int, found True"),
        ({"count": 1.0}, "count: expected int"),
        ({"parts": {}}, "parts: expected a list"),
        ({"parts": [{"size": "1", "kind": "x"}]}, r"parts\.0\.size: expected float, found '1'"),
        ({"parts": [{"size": 1, "kind": "z"}]}, r"parts\.0\.kind: expected x or y, found 'z'"),
        ({"parts": [{"size": 1, "kind": []}]}, r"parts\.0\.kind"),
        ({"parts": [{"size": 1}]}, r"parts\.0: expected the fields size, kind, found size"),
        ({"ends": [1]}, "ends: expected 2 items"),
        ({"ends": "ab"}, "ends: expected a list"),
        ({"table": []}, "table: expected a table"),
        ({"more": 1}, "expected the fields name"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(change, words):
    with pytest.raises(ValueError, match=words):
        typed(Whole, {**VALID, **change})


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(OverflowError):
        typed(Part, {"size": 10**400, "kind": "x"})
