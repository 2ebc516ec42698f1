"""Weight matching as an aligner."""

import json

import pytest
import torch
from matched_networks import NETWORKS, mlp, moved_copy, network, random_end, task_on, vit
from torch import nn

from connectivity_hooks.connecting.alignment import aligned
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import UsageError
from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks.testing.tasks import make_task
from connectivity_hooks_alignment.weight_matching import WeightMatching


class TestWeightMatchingOfRelus(AlignerSuite):
    aligner = WeightMatching

    def make_task(self):
        return make_task(network=lambda: mlp(nn.ReLU, 8, 7))


class Said:
    """Keeps what a method says."""

    def __init__(self):
        self.lines, self.labels = [], []

    def track(self, items, label, total=None):
        self.labels.append(label)
        yield from items

    def say(self, message):
        self.lines.append(message)


def matched(name, progress=None, **given):
    make, shape = NETWORKS[name]
    model, _, symmetries = network(name)
    a, b = (random_end(model, symmetries, seed) for seed in (1, 2))
    method = WeightMatching(make_options(WeightMatching.Options, given, "weight-matching"), progress=progress or Said())
    return a, b, aligned(method, a, b, task_on(make, shape))


@pytest.mark.parametrize("name", ["relu", "tanh", "residual with batch norm", "vit"])
def test_the_function_is_kept_in_float64_and_the_record_says_what_was_done(name):
    _, _, (_, record) = matched(name)
    assert record["deviation"] < 1e-9
    done = record["record"]
    assert done["distance"]["after"] < done["distance"]["before"]
    assert done["converged"]
    assert done["coverage"] > 0.5
    assert done["demoted"] == []
    assert done["spaces"]
    assert len(json.dumps(done)) < 4000


def test_what_was_done_is_said_by_space():
    _, _, (_, record) = matched("vit")
    words = "; ".join(record["record"]["spaces"].values())
    for part in ("O₁: rotated by", "GL × 4: rotated by", "stretched by", "of 64 moved"):
        assert part in words
    _, _, (_, record) = matched("relu")
    assert all("factors" in text for text in record["record"]["spaces"].values())


def test_what_still_moves_is_said():
    said = Said()
    _, _, (_, record) = matched("vit", said, sweeps=1)
    assert not record["record"]["converged"]
    assert any("still moving after 1 sweeps" in line for line in said.lines)


def test_starts_are_shown_one_by_one():
    said = Said()
    matched("relu", said, restarts=1)
    assert said.labels == ["matching weights, start 1 of 2", "matching weights, start 2 of 2"]


@pytest.mark.parametrize("given", [{"sweeps": 0}, {"restarts": -1}, {"polish": -1}])
def test_options_have_bounds(given):
    with pytest.raises(UsageError):
        make_options(WeightMatching.Options, given, "weight-matching")


def test_a_moved_copy_in_single_precision_is_recovered_through_the_aligner():
    model, _, symmetries = network("vit")
    a = random_end(model, symmetries, 1)
    single = [{k: w.float() for k, w in end.items()} for end in (a, moved_copy(symmetries, a, 2))]
    weights, record = aligned(WeightMatching(), *single, task_on(vit, (1, 8, 8), torch.float32))
    assert record["deviation"] <= record["allowed"]
    assert record["record"]["distance"]["after"] < 1e-3 * record["record"]["distance"]["before"]
    assert all(w.dtype == torch.float32 for w in weights.values())
