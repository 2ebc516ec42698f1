"""Points that are divided among processes are those of one process, and each is measured once."""

import math
from dataclasses import replace

import pytest
import torch.distributed as dist
from side_by_side import side_by_side

from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.evaluation.divided import divided
from connectivity_hooks.paths import Path
from connectivity_hooks.team import OtherFailed, current

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")

TS = [0.0, 0.125, 1 / 3, 0.7, 1.0]


@pytest.fixture(scope="module")
def some():
    """Return what a measurement is like."""
    from small_networks import mlp, trained, vector_task

    task = vector_task(lambda: mlp(8))
    path = Path.from_points([trained(task, seed, steps=5) for seed in (1, 2)])
    curves = evaluate(path, task, points=2, refine=0).curves
    return [curve[0] for curve in curves.values()]


def at(some, t, rank=0):
    return [replace(one, t=t, loss=math.inf if t == 0.7 else t / 3, samples=rank) for one in some]


def each(some, ts):
    return ((t, at(some, t)) for t in ts)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_process_gets_all_points_and_each_is_measured_once(some, count):
    measured = []

    def work(team):
        def measure(ts):
            for t in ts:
                measured.append(t)
                yield t, at(some, t)

        known = {1 / 3: at(some, 1 / 3)} if team.is_first else {}  # only the first reads a journal
        first = dict(divided(TS, known.get, measure, team))
        return first, dict(divided([0.5], known.get, measure, team))

    for first, second in side_by_side(work, count):
        assert first == {t: at(some, t) for t in TS}
        assert second == {0.5: at(some, 0.5)}
    assert sorted(measured) == sorted(t for t in [*TS, 0.5] if t != 1 / 3)


def test_each_process_measures_a_run_of_neighbours(some):
    def work(team):
        own = []
        list(divided(TS, lambda t: None, lambda ts: own.append(ts) or each(some, ts), team))
        return own

    assert side_by_side(work) == [[TS[:2]], [TS[2:]]]


def test_the_choice_of_points_is_the_first_processs(some):
    def work(team):
        ts = [0.25, 0.5] if team.is_first else [0.1]
        return sorted(dict(divided(ts, lambda t: None, lambda ts: each(some, ts), team)))

    assert side_by_side(work) == [[0.25, 0.5]] * 2


def test_a_process_that_fails_leaves_nobody_waiting(some):
    def work(team):
        if team.rank == 1:
            team.fails()
            raise ValueError
        return list(divided(TS, lambda t: None, lambda ts: each(some, ts), team))

    found = side_by_side(work)
    assert isinstance(found[0], OtherFailed)


def test_alone_points_come_in_their_order(some):
    known = {0.7: at(some, 0.7, 9)}
    found = list(divided(TS, known.get, lambda ts: each(some, ts), current()))
    assert [t for t, _ in found] == TS
    assert found[3][1] == known[0.7]
