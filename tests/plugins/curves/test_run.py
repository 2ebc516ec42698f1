"""What every training has under way: what is measured, by which batches, and vectors taken as one."""

import numpy as np
import pytest
import torch
from curve_modules import end_of, task_of
from small_networks import exact, mlp, trained, vector_task

from connectivity_hooks.contracts import make_options
from connectivity_hooks.tasks import CachedSplit
from connectivity_hooks_curves.bezier import Options
from connectivity_hooks_curves.training.run import Run, some_batches
from connectivity_hooks_curves.training.vectors import clip_to, dot, length


def run_of(task, a, b, **options):
    return Run.between(a, b, task, make_options(Options, {"batch_size": 16, **options}, "bezier"), 0)


def test_a_measured_loss_is_the_mean_over_the_samples():
    task = vector_task(lambda: mlp(8))
    end = trained(task, 1, steps=20)
    run = run_of(task, end, trained(task, 2, steps=20))
    batches = some_batches(task.train, 100, 10_000, 3)  # 100, 100 and 40
    assert run.measure(0.0, batches) == pytest.approx(exact(task, end, task.train)[1], rel=1e-6)
    assert (run.step, run.share) == (0, 0.0)


def test_a_measured_loss_draws_the_same_at_every_call():
    task = task_of("plain")
    noisy = lambda: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(5, 3))  # noqa: E731
    task = type(task)(noisy, task.train, dtype=task.dtype)
    run = run_of(task, end_of(task, 1), end_of(task, 2))
    batches = some_batches(task.train, 16, 40, 0)
    assert run.measure(0.5, batches) == run.measure(0.5, batches)


@pytest.mark.parametrize(("samples", "sizes"), [(1, [16]), (17, [16, 16]), (10_000, [16, 16]), (32, [16, 16])])
def test_batches_are_as_many_as_asked_for_and_none_of_one_sample(samples, sizes):
    task = task_of("plain")
    split = task.train.head(33)
    found = some_batches(split, 16, samples, 5)
    assert [len(each.targets) for each in found] == sizes
    again = some_batches(split, 16, samples, 5)
    assert all(torch.equal(one.rows, other.rows) for one, other in zip(found, again, strict=True))
    rows = torch.cat([each.rows for each in found])
    assert len(rows.unique()) == len(rows)


def test_batches_without_labels_that_count_are_left_out():
    task = task_of("plain")
    labels = task.train.targets()
    labels[:39] = -100
    found = some_batches(CachedSplit("train", task.train.inputs, labels), 4, 1000, 0)
    assert len(found) == 1
    assert int((found[0].targets >= 0).sum()) == 1


def test_vectors_of_several_types_are_taken_as_one():
    x, y = ([torch.randn(4), torch.randn(3, dtype=torch.float64)] for _ in range(2))
    one, other = (np.concatenate([part.double().numpy() for part in each]) for each in (x, y))
    assert float(dot(x, y)) == pytest.approx(one @ other, rel=1e-5)
    assert float(length(x)) == pytest.approx(np.linalg.norm(one), rel=1e-6)
    kept = [part.clone() for part in x]
    assert float(clip_to(x, 1e-3)) == pytest.approx(np.linalg.norm(one), rel=1e-6)
    assert float(length(x)) == pytest.approx(1e-3, rel=1e-5)
    clip_to(kept, 1e3)
    assert np.array_equal(np.concatenate([part.double().numpy() for part in kept]), one)
