"""Places that are kept: lines with a right checksum whose figures cannot be are measured again."""

import json
import zlib

import pytest
from small_networks import mlp, vector_task
from written_networks import drawn, write

from connectivity_hooks.progress import Silent
from connectivity_hooks_averaging.planes.functions import slice_around


def network():
    return mlp(8)


def change(name, value):
    def changed(scores):
        scores["train"][name] = value
        return scores

    return changed


class Said(Silent):
    def __init__(self):
        self.texts = []

    def say(self, text):
        self.texts.append(text)


CHANGES = {
    "nothing": lambda _: {},
    "a split less": lambda scores: {"train": scores["train"]},
    "an unknown one": lambda scores: {"foo": scores["train"], **scores},
    "swapped": lambda scores: dict(reversed(scores.items())),
    "NaN": change("loss", float("nan")),
    "below all": change("loss", -float("inf")),
    "negative": change("loss", -1.0),
    "above all": change("loss", float("inf")),
    "no error": change("error", None),
    "error above 1": change("error", 1.5),
    "error NaN": change("error", float("nan")),
}


@pytest.mark.parametrize("which", CHANGES)
def test_figures_that_cannot_be_are_measured_again(tmp_path, which):
    how = {"directions": 1, "points": 3, "keep": tmp_path / "out"}
    file, task = write(tmp_path, "a", drawn(network, 0)), vector_task(network)
    expected = slice_around(file, task, **how)
    places = tmp_path / "out" / "places.jsonl"
    lines = places.read_text().splitlines()
    content = json.loads(lines[0].partition(" ")[2])
    text = json.dumps(content | {"scores": CHANGES[which](content["scores"])})
    places.write_text("\n".join([f"{zlib.crc32(text.encode()):08x} {text}", *lines[1:]]) + "\n")
    progress = Said()
    found = slice_around(file, task, **how, progress=progress)
    assert found.scores == expected.scores
    assert found.splits == expected.splits
    assert any("measured again" in each for each in progress.texts)
    assert len(places.read_text().splitlines()) == len(lines) + 1
