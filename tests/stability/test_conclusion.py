"""The verdict in words."""

import math

import pytest

from connectivity_hooks.stability.barrier_of_pairs import Instability, Spread
from connectivity_hooks.stability.conclusion import conclude
from connectivity_hooks.tasks.guessing import Guess


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
    sentence, loss = conclude({"train": [at(0, 0.2), at(9, 0.4), at(30, 0.001)]}).sentences
    figures = "20.00 ± 0.10 points at k = 0, 40.00 ± 0.10 points at k = 9, 0.10 ± 0.10 points at k = 30"
    assert figures + ", highest of 3 at k = 9" in sentence
    assert loss == "On train the loss barrier is 0.1 ± 0.01 at k = 0, 0.1 ± 0.01 at k = 30."


def test_doubts_are_named():
    found = conclude({"train": [at(0, 0.019, half=0.002), at(9, 0.015, pairs=3, spread=0.01)]})
    assert "On train the 95 % interval holds 2 points at k = 0: no verdict on which side." in found.sentences
    assert "On train some pairs lie below 2 points and some above at k = 9." in found.sentences


def test_too_few_samples_are_an_answer_of_their_own():
    found = conclude({"test": [at(0, 0.3), at(9, 0.03, half=0.02)]})
    assert (found.verdict, found.since) == ("undecided", None)
    assert found.headline == (
        "Too few samples to tell whether it is stable from any k on: at the last, k = 9, the test error barrier is "
        "3.00 ± 2.00 points, and 2 points count."
    )
    assert "; undecided at the last k" in found.sentences[0]


def test_a_k_that_is_not_known_to_be_stable_is_not_counted():
    """With 0.1 points of uncertainty k = 0 is stable; with 3 it is open, and stability is known from k = 9 on."""
    for half, since in ((0.001, 0), (0.03, 9)):
        assert conclude({"train": [at(0, 0.005, half=half), at(9, 0.0)]}).since == since


def test_a_loss_that_tells_another_story_than_the_error_is_said():
    found = conclude({"train": [at(0, 0.3, loss=0.9), at(9, 0.001, loss=0.4)]})
    assert found.headline == (
        "Stable from k = 9 on: the train error barrier stays below 2 points. "
        "The loss barrier is not low: 0.4 ± 0.01 at k = 9."
    )


def test_a_loss_that_is_not_finite_is_said_and_no_error_put_in_its_place():
    found = conclude({"train": [at(0, 0.0, loss=math.inf)]})
    assert found.headline == (
        "Not stable from any k on: at the last, k = 0, the train loss is not a finite number on the path."
    )


def test_where_a_loss_without_errors_counts_from_depends_on_the_ends_and_on_guessing():
    barrier = [at(0, None, loss=0.1)]  # the copies' own loss is 1.0
    assert conclude({"train": barrier}).verdict == "unstable"
    assert conclude({"train": barrier}, {"train": Guess(7.0, None)}).verdict == "stable"


def test_the_copies_own_difference_in_a_barrier_is_named():
    pair = Instability(9, 1, Spread(0, 0, 0, 0), Spread(0.175, 0.175, 0.175, 0.01), 1.0, 0.225, 0.175)
    assert (
        "On train the error barrier, which counts from the copies' mean, holds 17.50 points at k = 9 of their own "
        "difference."
    ) in conclude({"train": [pair]}).sentences


def test_copies_that_did_not_learn_are_named():
    found = conclude({"train": [at(0, 0.0)]}, {"train": Guess(1.01, 0.06)})
    assert "On train the copies are hardly better than guessing at k = 0." in found.sentences
    learnt = conclude({"train": [at(0, 0.0)]}, {"train": Guess(1.01, 0.9)})
    assert not any("guessing" in sentence for sentence in learnt.sentences)
