"""Intervals of tokens that depend on each other within their sequence, by how often they hold the truth.

From logits to intervals as `evaluate` goes, in float64. What is true is known by quadrature: a token's logit is normal,
one part of it its sequence's and the other its own. Tokens taken for independent, as the mean of all of them and their
standard deviation suggest, claim to know half of it too well.
"""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch.nn.functional import cross_entropy

from connectivity_hooks.evaluation import score, summarise
from connectivity_hooks.tasks import LOSSES

N, T, RUNS = 60, 12, 400
OF_SEQUENCE, OF_TOKEN = 1.6, 0.6
MEANS = {"here": 0.2, "a": 0.9, "b": 2.0}  # of the right class's logit beside the other's: A is the worse end


def drawn(generator):
    """Return logits (N, 2, T) at three points of a path, and labels (N, T) of which those behind the end are ignored.

    Some of what a sequence has of its own it has at every point, so that differences are to be taken by sequence.
    """
    shared = generator.normal(0, 1, (N, 1))
    logits = {}
    for name, mean in MEANS.items():
        own = (shared + generator.normal(0, 1, (N, 1))) / math.sqrt(2)
        z = mean + OF_SEQUENCE * own + OF_TOKEN * generator.normal(0, 1, (N, T))
        logits[name] = torch.from_numpy(np.stack([z, np.zeros_like(z)], 1))
    lengths = generator.integers(4, T + 1, (N, 1))
    return logits, torch.from_numpy(np.where(np.arange(T) < lengths, 0, -100))


def true_loss(mean):
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = mean + math.hypot(OF_SEQUENCE, OF_TOKEN) * nodes
    return float(np.logaddexp(0, -z) @ weights / weights.sum())


def true_error(mean):
    return float(ndtr(-mean / math.hypot(OF_SEQUENCE, OF_TOKEN)))


def by_tokens(logits, labels):
    """Return losses and errors of all tokens that count, by PyTorch."""
    kept = labels != -100
    wrong = (logits.argmax(1) != labels)[kept]
    return cross_entropy(logits, labels, reduction="none")[kept], wrong.double()


@pytest.fixture(scope="module")
def held():
    """Return how often each interval held the truth, taken by sequence and by token."""
    generator = np.random.default_rng(0)
    truths = {
        "loss": true_loss(MEANS["here"]),
        "error": true_error(MEANS["here"]),
        "climb": true_loss(MEANS["here"]) - true_loss(MEANS["a"]),
        "error_climb": true_error(MEANS["here"]) - true_error(MEANS["a"]),
    }
    clustered, naive = dict.fromkeys(truths, 0), dict.fromkeys(truths, 0)
    for _ in range(RUNS):
        logits, labels = drawn(generator)
        scores = {name: score([(each, labels)], LOSSES["cross-entropy"]) for name, each in logits.items()}
        found = summarise(0.5, "train", scores["here"], (scores["a"], scores["b"]), "forward")
        here, a = by_tokens(logits["here"], labels), by_tokens(logits["a"], labels)
        values = dict(zip(truths, (*here, here[0] - a[0], here[1] - a[1]), strict=True))
        for name, truth in truths.items():
            mean = float(values[name].mean())
            assert getattr(found, name) == pytest.approx(mean, abs=1e-12)
            clustered[name] += abs(getattr(found, name) - truth) <= getattr(found, f"{name}_interval")
            naive[name] += abs(mean - truth) <= 1.96 * float(values[name].std()) / math.sqrt(len(values[name]))
    return {name: (clustered[name] / RUNS, naive[name] / RUNS) for name in truths}


@pytest.mark.parametrize("name", ["loss", "error", "climb", "error_climb"])
def test_intervals_by_sequence_hold_the_truth_and_those_by_token_do_not(held, name):
    by_sequence, by_token = held[name]
    assert by_sequence >= 0.92
    assert 0.3 <= by_token <= 0.65
