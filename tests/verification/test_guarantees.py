"""Guarantees by structure on small chains: which changes can reach an output, and what else refutes a claim."""

import pytest
import torch
from torch import nn

from connectivity_hooks.model.weights import weights_of
from connectivity_hooks.paths import Path
from connectivity_hooks.structure import task_program
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.verification.ends import EQUAL, compare_ends, function_deviation
from connectivity_hooks.verification.guarantees import LARGEST, segment_faults, untrue
from connectivity_hooks.verification.silence import silent_entries


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture
def task():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    return Task(net, CachedSplit("train", x, torch.arange(20) % 3), batch_size=8)


@pytest.fixture
def weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: tensor.clone() for name, tensor in weights_of(net()).items()}


@pytest.fixture
def program(task):
    return task_program(task, task.structure())


def changed(weights, **values):
    """Return the weights with entries of tensors replaced: ``w0=[((row, column), value)]``."""
    found = {name: tensor.clone() for name, tensor in weights.items()}
    for key, entries in values.items():
        name = {"w": "weight", "b": "bias"}[key[0]]
        for index, value in entries:
            found[f"{key[1]}.{name}"][index] = value
    return found


def column(index):
    return (slice(None), index)


def faults(guarantee, before, after, program):
    return [finding.reason for finding in segment_faults(0, guarantee, before, after, program)]


def test_what_nothing_reads_may_move_and_what_something_reads_may_not(weights, program):
    unread = changed(weights, w2=[(column(2), 0.0)])
    moved = changed(unread, w0=[(2, 9.0)], b0=[(2, -3.0)])
    assert faults("constant", unread, moved, program) == []
    (reason,) = faults("constant", weights, changed(weights, b0=[(2, -3.0)]), program)
    assert reason == "a change of 0.bias can reach the outputs"


def test_weights_that_read_silent_neurons_may_move(weights, program):
    dead = changed(weights, w0=[(1, 0.0)], b0=[(1, 0.0)])
    assert faults("constant", dead, changed(dead, w2=[(column(1), 4.0)]), program) == []
    assert faults("constant", weights, changed(weights, w2=[(column(1), 4.0)]), program)
    silent = silent_entries(program, dead, dead)[program.steps[1].name]
    assert silent.tolist() == [False, True, False, False, False, False]


def test_a_neuron_that_is_silent_at_one_end_alone_is_not_silent(weights, program):
    dead = changed(weights, w0=[(1, 0.0)], b0=[(1, 0.0)], w2=[(column(1), 0.0)])
    awake = changed(dead, w0=[(1, 1.0)], w2=[(column(1), 1.0)])
    assert faults("constant", dead, awake, program)


def test_huge_weights_may_overflow_and_are_no_proof(weights, program):
    unread = changed(weights, w2=[(column(2), 0.0)])
    (reason,) = faults("constant", unread, changed(unread, w0=[(2, 10 * LARGEST)]), program)
    assert reason.startswith("0.weight holds 1.0e+07")


def test_on_a_convex_segment_the_output_layer_alone_moves(weights, program):
    assert faults("convex", weights, changed(weights, w4=[(0, 2.0)], b4=[(1, 1.0)]), program) == []
    (reason,) = faults("convex", weights, changed(weights, w4=[(0, 2.0)], w2=[((0, 0), 1.0)]), program)
    assert reason == "moves 2.weight, expected the output layer alone"


def test_every_segment_of_a_path_is_looked_at(weights, program):
    points = [weights, changed(weights, w4=[(0, 2.0)]), changed(weights, w0=[(0, 2.0)]), weights]
    path = Path.from_points(points, guarantees=["convex", "constant", "measured"])
    assert [segment for segment, _ in untrue(path, program)] == [1]


def swapped(weights):
    """Return the same function with two neurons exchanged."""
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    rows = {name: weights[name][order] for name in ("0.weight", "0.bias")}
    return {**weights, **rows, "2.weight": weights["2.weight"][:, order]}


def test_rounding_of_a_reordered_function_is_far_below_and_a_changed_one_far_above_the_tolerance(weights, task):
    assert function_deviation(task, weights, swapped(weights), task.train) < EQUAL / 100
    nudged = {name: tensor * (1 + 2**-23) if name == "0.weight" else tensor for name, tensor in weights.items()}
    assert function_deviation(task, weights, nudged, task.train) > 10 * EQUAL


def test_no_checkpoints_are_not_compared_and_one_is_refused(weights, task):
    path = Path.from_points([weights, swapped(weights)])
    found = compare_ends(path, (), task, task.structure(), task.train)
    assert (found.findings, found.words) == ((), "not compared with the checkpoints")
    with pytest.raises(Exception, match="expected the two checkpoints of the path, found 1"):
        compare_ends(path, [object()], task, task.structure(), task.train)
