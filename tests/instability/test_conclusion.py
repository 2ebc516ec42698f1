"""The verdict in words."""

import math

import pytest

from connectivity_hooks.instability.conclusion import conclude
from connectivity_hooks.instability.spread import Instability, Spread


def at(step, error, half=0.001, loss=0.1, pairs=1, spread=0.0):
    figures = None if error is None else Spread(error, error - spread, error + spread, half)
    return Instability(step, pairs, Spread(loss, loss, loss, 0.01), figures, 1.0, None if error is None else 0.05)


@pytest.mark.parametrize(
    ("measured", "since", "headline"),
    [
        ([at(0, 0.01), at(9, 0.0)], 0, "Stable from the start on: the test error barrier stays below 2 points."),
        ([at(0, 0.3), at(9, 0.01), at(30, 0.0)], 9, "Stable from k = 9 on: the test error barrier stays"),
        ([at(0, 0.01), at(9, 0.3), at(30, 0.01)], 30, "Stable from k = 30 on"),
        ([at(0, 0.3), at(9, 0.123)], None, "Not stable from any k on: at the last, k = 9, the test error barrier is"),
        ([at(0, 0.0, loss=math.inf)], None, "Not stable from any k on"),
        ([at(0, None, loss=0.2), at(9, None, loss=0.04)], 9, "Stable from k = 9 on: the test loss barrier stays"),
    ],
)  # fmt: skip
def test_the_verdict_in_words(measured, since, headline):
    found = conclude({"train": [at(one.step, 0.5) for one in measured], "test": measured})
    assert (found.since, found.verdict) == (since, "unstable" if since is None else "stable")
    assert found.headline.startswith(headline)
    assert found.sentences[0].startswith("On train the ")


def test_the_highest_barrier_is_named_where_it_is_neither_the_first_nor_the_last():
    (sentence,) = conclude({"train": [at(0, 0.2), at(9, 0.4), at(30, 0.001)]}).sentences
    figures = "20.00 ± 0.10 points at k = 0, 40.00 ± 0.10 points at k = 9, 0.10 ± 0.10 points at k = 30"
    assert figures + ", highest of 3 at k = 9" in sentence


def test_doubts_are_named():
    found = conclude({"train": [at(0, 0.019, half=0.002), at(9, 0.015, pairs=3, spread=0.01)]})
    assert "On train the 95 % interval holds 2 points at k = 0: no verdict on which side." in found.sentences
    assert "On train some pairs lie below 2 points and some above at k = 9." in found.sentences
