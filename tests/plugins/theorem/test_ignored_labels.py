"""Conditions and the certified builder where some labels are ignored, or stand in a column."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import CachedSplit, Task, custom_loss
from tests.support.small_networks import certified, mlp, trained, vector_task

N, IGNORED = 240, -100


def task_with(change):
    """Return a task with other training labels, and the part of it whose labels count."""
    task = vector_task(lambda: mlp(16, 16))
    labels = change(task.train.targets())
    counted = (labels != IGNORED).reshape(N)
    kept = CachedSplit("train", task.train.inputs[counted], labels[counted])
    return replace(task, train=CachedSplit("train", task.train.inputs, labels)), replace(task, train=kept)


def every_third_ignored(labels):
    return torch.where(torch.arange(N) % 3 == 0, IGNORED, labels)


@pytest.mark.parametrize("condition", ["separability", "dropout-stability", "memorization"])
def test_a_condition_finds_what_it_finds_without_the_ignored_samples(condition):
    task, kept = task_with(every_third_ignored)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.model()
    for found, expected in zip(
        ch.check(model, task, condition, layers=["2", "4"]),
        ch.check(model, kept, condition, layers=["2", "4"]),
        strict=True,
    ):
        assert found.status == expected.status != "invalid"
        assert found.measured == pytest.approx(expected.measured, rel=1e-5)
        if "loss_own" in found.details:
            assert found.details["loss_own"] == pytest.approx(expected.details["loss_own"], rel=1e-6)
        assert found.details.get("errors") == expected.details.get("errors")


def test_a_condition_reads_labels_in_a_column():
    task, _ = task_with(lambda labels: labels[:, None])
    plain, _ = task_with(lambda labels: labels)
    model = task.model()
    for condition in ("separability", "memorization"):
        found, expected = (ch.check(model, one, condition, layers=["2"])[0] for one in (task, plain))
        assert (found.status, found.measured) == (expected.status, expected.measured)


def test_the_certified_builder_refuses_ignored_labels_and_reads_columns():
    task, _ = task_with(every_third_ignored)
    ends = [dict(task.factory().state_dict()) for _ in range(2)]
    with pytest.raises(InputError, match="builder certified: some labels are -100"):
        certified().build(*ends, task)
    column, _ = task_with(lambda labels: labels[:, None])
    plain, _ = task_with(lambda labels: labels)
    ends = [trained(plain, seed, steps=60) for seed in (1, 2)]
    path = certified().build(*ends, column)
    assert ch.evaluate(path, column).proven
    expected = certified().build(*ends, plain)
    for found, wanted in zip(path.points(), expected.points(), strict=True):
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_one_logit_takes_labels_of_any_kind():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=generator)
    labels = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    losses = set()
    for targets in (labels, labels[:, None], labels.bool()[:, None], labels.float(), labels.float()[:, None]):
        task = Task(lambda: model, CachedSplit("train", x, targets), loss=ch.tasks.LOSSES["bce"])
        (found,) = ch.check(model, task, "dropout-stability", layers=["2:input"], seed=1)
        losses.add(found.details["loss_own"])
    assert len(losses) == 1
    assert cross_entropy(torch.cat([torch.zeros(60, 1), model(x)], 1), labels).item() == pytest.approx(losses.pop())


def test_a_loss_of_ones_own_on_labels_is_learnt_from_the_labels():
    task = vector_task(lambda: mlp(16, 16))
    ends = [trained(task, seed, steps=60) for seed in (1, 2)]
    own = custom_loss("own", lambda o, y: 2 * cross_entropy(o, y, reduction="none"), convex=True)
    task = replace(task, loss=own)
    path = certified(learn="targets", effort="quick").build(*ends, task)
    assert ch.evaluate(path, task).proven
