"""What was measured between two copies is found again, or measured again where its file is damaged."""

import json
import pathlib

import numpy as np
import pytest

from connectivity_hooks.evaluation import Measurement
from connectivity_hooks.evaluation.barriers import barriers
from connectivity_hooks.stability.finished_pairs import FinishedPairs
from connectivity_hooks.stability.inspection import Twin
from connectivity_hooks.stability.result import Connection

TWIN = Twin(3, ("a", "b"), (pathlib.Path("a"), pathlib.Path("b")))
SUBJECT = {"ends": ["0", "1"], "measuring": {"points": 3}}


class Told:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def connection():
    curve = tuple(
        Measurement(
            t, "train", 1 + t, 0.1, None, None, *(t, 0.1), *(t, 0.1, None, None), *(t, 0.1, None, None), "forward"
        )
        for t in (0.0, 0.5, 1.0)
    )
    return Connection(3, "a", "b", {"train": curve}, {"train": barriers(curve, np.array([0.0, 1.0, 2.0]))}, 2.0)


def test_a_kept_pair_comes_back_equal(connection, tmp_path):
    FinishedPairs(tmp_path).add(TWIN, SUBJECT, connection)
    told = Told()
    assert FinishedPairs(tmp_path, told).known(TWIN, SUBJECT) == connection
    assert FinishedPairs(tmp_path, told).known(TWIN, {**SUBJECT, "ends": ["0", "2"]}) is None
    assert told.lines == []


DAMAGE = {
    "cut short": lambda content: json.dumps(content)[:-9],
    "no text": lambda content: b"\xff" * 9,
    "zeroed": lambda content: b"\0" * 500,
    "a list": lambda content: "[]",
    "no subject": lambda content: json.dumps({key: value for key, value in content.items() if key != "subject"}),
    "other fields": lambda content: changed(content, "length", None),
    "no barriers": lambda content: changed(content, "barriers", {}),
    "barriers of a number": lambda content: changed(content, "barriers", {"train": 1}),
    "a curve without points": lambda content: changed(content, "curves", {"train": []}),
    "points of numbers": lambda content: changed(content, "curves", {"train": [1, 2]}),
    "another pair": lambda content: changed(content, "step", 4),
    "a huge number": lambda content: changed(content, "length", 10**400),
    "nested": lambda content: json.dumps(content)[:-1] + ', "more": ' + "[" * 5000 + "]" * 5000 + "}",
}


def changed(content, name, value):
    fields = {**content["connection"], name: value}
    return json.dumps({**content, "connection": fields})


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_pair_is_measured_again_and_said(connection, tmp_path, damage):
    FinishedPairs(tmp_path).add(TWIN, SUBJECT, connection)
    file = next(tmp_path.iterdir())
    spoiled = damage(json.loads(file.read_text()))
    file.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
    told = Told()
    assert FinishedPairs(tmp_path, told).known(TWIN, SUBJECT) is None
    assert len(told.lines) == 1
    assert told.lines[0].endswith("it is measured again")
    assert "\n" not in told.lines[0]
