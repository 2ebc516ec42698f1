"""Several processes train the curve of one."""

import pytest
import torch
import torch.distributed as dist
from curve_modules import end_of, task_of
from several_processes import run
from trained_spread import as_one as as_one_spread
from trained_spread import going_on, parts
from trained_together import Found, as_one, assert_same, endings, killed, train

from connectivity_hooks.errors import UsageError
from connectivity_hooks.tasks import CachedSplit
from connectivity_hooks_curves.training.draws import chance
from connectivity_hooks_curves.training.parts import dealt

together = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")


@together
def test_two_processes_train_what_one_does(tmp_path):
    run(as_one, tmp_path, str(tmp_path / "store"))


@together
def test_two_processes_go_on_from_what_the_first_kept(tmp_path):
    run(killed, tmp_path, str(tmp_path / "store"))


@together
def test_two_processes_end_at_the_same_step(tmp_path):
    run(endings, tmp_path, str(tmp_path / "store"))


@together
def test_two_processes_that_hold_a_part_each_train_what_one_does(tmp_path):
    run(as_one_spread, tmp_path, str(tmp_path / "store"))


@together
def test_a_spread_training_goes_on_in_any_number_of_processes(tmp_path):
    run(going_on, tmp_path, str(tmp_path / "store"))


@together
def test_each_process_holds_its_part_of_what_can_be_spread(tmp_path):
    run(parts, tmp_path, str(tmp_path / "store"))


def batch(size):
    split = CachedSplit("train", torch.arange(size, dtype=torch.float32)[:, None], torch.arange(size))
    return next(split.shuffled(size, 0))


@pytest.mark.parametrize(
    ("size", "draws", "count"), [(12, 1, 1), (12, 1, 5), (13, 3, 2), (12, 4, 4), (3, 1, 2), (1, 8, 8)]
)
def test_every_sample_of_a_batch_is_run_once(size, draws, count):
    drawn = batch(size)
    batches = [dealt(drawn, draws, 7, 4, rank, count) for rank in range(count)]
    parts = [part for one in batches for part in one.parts]
    assert sorted(row for part in parts for row in part.drawn.rows.tolist()) == list(range(size))
    for part in parts:
        assert part.drawn.inputs.squeeze(1).tolist() == part.drawn.rows.tolist() == part.drawn.targets.tolist()
        assert len(part.drawn.targets) >= min(2, size)  # batch norm has no statistics of one


@pytest.mark.parametrize(("size", "count"), [(12, 2), (3, 2), (5, 4), (1, 3)])
def test_where_all_hold_a_part_all_run_and_every_sample_counts_once(size, count):
    dealt_out = [dealt(batch(size), 1, 7, 4, rank, count, all_run=True) for rank in range(count)]
    parts = [part for one in dealt_out for part in one.parts]
    assert [len(one.parts) for one in dealt_out] == [1] * count
    assert {part.at for part in parts} == {chance(7, 4)}
    assert sorted(row for part in parts if part.counts for row in part.drawn.rows.tolist()) == list(range(size))


def test_alone_there_is_nobody_to_share_with_which_is_said():
    said, task = Found(), task_of("plain")
    assert_same(train(task, sharded=True, progress=said), train(task))
    assert ["torchrun" in line for line in said.said] == [True]


def test_a_shared_out_module_is_run_at_one_t():
    with pytest.raises(UsageError, match=r"draws.*sharded"):
        train(task_of("plain"), sharded=True, draws=2)


def test_a_place_is_of_the_step_or_of_the_part_and_never_of_the_process():
    drawn = batch(12)
    for rank in range(3):
        one, several = dealt(drawn, 1, 7, 4, rank, 3), dealt(drawn, 6, 7, 4, rank, 3)
        assert {part.at for part in one.parts} == {one.at} == {chance(7, 4)}
        assert several.at is None
        assert [part.at for part in several.parts] == [chance(7, 4, rank), chance(7, 4, rank + 3)]
    assert len({dealt(drawn, 1, 7, 4, rank, 3).parts[0].seed for rank in range(3)}) == 3


def by_hand(task, a, b, draws, seed):
    """Return the gradient of the middle point in the first step, by autograd through each part's mixed weights."""
    drawn = next(task.train.shuffled(12, seed, epoch=0, start=0))
    middle = {name: ((a[name] + b[name]) / 2).requires_grad_() for name in a}
    total = torch.zeros((), dtype=torch.float64)
    for part in range(draws):
        t = chance(seed, 0, part).t
        mixed = {n: (1 - t) ** 2 * a[n] + 2 * t * (1 - t) * middle[n] + t**2 * b[n] for n in a}
        outputs = torch.func.functional_call(task.model().train(), mixed, (drawn.inputs[part::draws],))
        loss = torch.nn.functional.cross_entropy(outputs, drawn.targets[part::draws], reduction="sum")
        total = total + loss / 12
    return dict(zip(middle, torch.autograd.grad(total, list(middle.values())), strict=True)), float(total.detach())


@pytest.mark.parametrize("draws", [2, 5])
def test_a_step_at_several_t_has_the_gradient_of_their_mean_loss(draws, monkeypatch):
    from connectivity_hooks_curves.training.points import Points

    task, found = task_of("plain"), {}

    def keep(points, lr):
        ((group,), (gradient,)) = points._flat.groups, points.gradients
        found.update({name: view.clone() for name, view in group.views(gradient).items()})

    monkeypatch.setattr(Points, "step", keep)
    a, b = end_of(task, 1), end_of(task, 2)
    losses = train(task, budget="1steps", draws=draws, clip=None).losses
    expected, loss = by_hand(task, a, b, draws, 5)
    assert losses == pytest.approx([loss], rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
