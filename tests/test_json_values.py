"""Figures on their way into JSON, which has no NaN."""

import json
import math

from connectivity_hooks.json_values import finite


def test_what_is_not_finite_is_null_and_its_place_is_known():
    lost = []
    found = finite({"a": [1.5, math.nan], "b": {"c": math.inf, 3: "x"}, "d": (True, None, 2)}, lost)
    assert found == {"a": [1.5, None], "b": {"c": None, "3": "x"}, "d": [True, None, 2]}
    assert lost == ["a.1", "b.c"]
    json.dumps(found, allow_nan=False)


def test_nobody_needs_to_ask_for_the_places():
    assert finite([-math.inf, 0.0]) == [None, 0.0]
    assert finite(math.nan) is None
