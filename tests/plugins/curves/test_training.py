"""Training of curves: what it reaches, that one seed gives one curve, and where it stops."""

import math
import types
from dataclasses import replace

import pytest
import torch
from curve_modules import VECTORS, Buffered, end_of, frozen, task_of
from curve_works import Heard
from small_networks import exact, mlp, trained, vector_task
from torch import nn

import connectivity_hooks_curves.training.run as run
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import CachedSplit, custom_loss
from connectivity_hooks_curves.bezier import Bezier, Options, Polychain
from connectivity_hooks_curves.training.draws import chance
from connectivity_hooks_curves.training.training import train_curve


def train(task, basis="bezier", ends=None, seed=0, progress=None, **options):
    given = make_options(Options, {"budget": "30steps", "batch_size": 16, **options}, "bezier")
    a, b = ends or (end_of(task, 1), end_of(task, 2))
    return train_curve(a, b, task, basis, given.bends, given, seed=seed, progress=progress or Heard())


def assert_same(one, other):
    for here, there in zip(one.points, other.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


@pytest.mark.parametrize("builder", [Bezier, Polychain])
def test_a_curve_avoids_the_barrier_of_the_line(builder):
    task = vector_task(lambda: mlp(24))
    a, b = (trained(task, seed, steps=100) for seed in (1, 2))
    options = make_options(builder.Options, {"budget": "150steps", "lr": 1e-2}, builder.name)
    path = builder(options).build(a, b, task)
    ts = [i / 10 for i in range(11)]
    line = [{name: torch.lerp(a[name], b[name], t) for name in a} for t in ts]
    worst_end = max(exact(task, end, task.train)[1] for end in (a, b))
    barrier = max(exact(task, weights, task.train)[1] for weights in line) - worst_end
    left = max(exact(task, path(t), task.train)[1] for t in ts) - worst_end
    assert barrier > 0.1
    assert left < 0.4 * barrier


def test_one_seed_gives_one_curve_whatever_the_global_state():
    task = replace(task_of("normed"), factory=lambda: nn.Sequential(VECTORS["normed"](), nn.Dropout(0.3)))
    task = replace(task, augment=lambda x: x + 0.1 * torch.randn_like(x))
    first = train(task)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(99)
        assert_same(first, train(task))
    assert not torch.equal(first.points[1]["0.0.weight"], train(task, seed=1).points[1]["0.0.weight"])
    assert not torch.equal(first.points[1]["0.0.weight"], train(replace(task, augment=None)).points[1]["0.0.weight"])


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1])
def test_any_seed_is_taken(seed):
    assert train(task_of("plain"), seed=seed, budget="2steps").steps == 2


def test_chance_is_another_for_every_seed_step_and_process():
    drawn = [chance(seed, step, rank) for seed in range(20) for step in range(50) for rank in range(2)]
    assert len(set(drawn)) == len({one.seed for one in drawn}) == 2000
    ts = torch.tensor([one.t for one in drawn], dtype=torch.float64)
    assert bool(((ts >= 0) & (ts < 1)).all())
    assert float((ts.sort().values - (torch.arange(2000) + 0.5) / 2000).abs().max()) < 1.63 / math.sqrt(2000)  # KS, 1 %


def test_what_is_frozen_and_buffers_lie_on_the_line_and_the_rest_does_not():
    for task, names in (
        (task_of("frozen"), ["0.weight", "0.bias"]),
        (task_of("buffered"), ["scale", "mask"]),
    ):
        a, b = end_of(task, 1), end_of(task, 2)
        middle = train(task, ends=(a, b), bends=2).points[1]
        for name in names:
            line = torch.where(a[name] == b[name], a[name], a[name] + (b[name] - a[name]) / 3)
            torch.testing.assert_close(middle[name], line, rtol=1e-12, atol=0)
        moved = next(n for n in a if n.endswith("2.weight"))
        assert not torch.allclose(middle[moved], a[moved] + (b[moved] - a[moved]) / 3)
        for name, tensor in middle.items():
            assert tensor.is_floating_point() or torch.equal(tensor, a[name])


def test_frozen_weights_of_both_ends_stay_bit_for_bit():
    task = task_of("frozen")
    a, b = end_of(task, 1), end_of(task, 2)
    b |= {name: a[name].clone() for name in ("0.weight", "0.bias")}
    found = train(task, ends=(a, b))
    assert torch.equal(found.points[1]["0.weight"], a["0.weight"])


@pytest.mark.parametrize("kind", ["recurrent", "returning", "mixed"])
def test_batches_and_outputs_of_every_form_are_trained(kind):
    found = train(task_of(kind), budget="120steps", lr=0.02)
    assert found.losses[-1] < 0.995 * found.losses[0]


def test_bfloat16_passes_come_close_to_full_ones():
    task = task_of("plain", torch.float32)
    full, coarse = train(task, precision="full"), train(task, precision="bfloat16")
    assert coarse.losses[0] == pytest.approx(full.losses[0], rel=0.02)
    assert coarse.losses != full.losses
    assert coarse.points[1]["0.weight"].dtype == torch.float32


def test_weight_decay_draws_the_curve_to_the_origin():
    norms = [
        sum(float(t.square().sum()) for t in train(task_of("plain"), weight_decay=decay, lr=0.05).points[1].values())
        for decay in (0.0, 1.0)
    ]
    assert norms[1] < 0.5 * norms[0]


def test_it_stops_below_the_target():
    display = Heard()
    found = train(task_of("plain"), budget="500steps", target=100.0, progress=display)
    assert found.steps == 50
    assert found.note == f"after 50 steps the mean training loss was {found.losses[0]:.4g}, below the target of 100"
    assert train(task_of("plain"), budget="60steps", target=1e-9).note == ""


def test_the_loss_is_shown_beside_the_bar():
    display = Heard()
    found = train(task_of("plain"), budget="60steps", progress=display)
    assert display.total == 60
    assert display.labels[49] == "training the curve"
    assert display.labels[50] == f"training the curve, loss {found.losses[0]:.4g}"


def failing(at, how):
    """Return a loss that is `how` of itself at one step."""
    steps = [0]

    def loss(outputs, targets):
        steps[0] += 1
        values = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return how(values) if steps[0] == at else values

    return custom_loss("failing", loss, convex=False)


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (1, "the path is the straight line"),
        (37, "the path is the straight line"),
        (83, "the best points"),
        (57, "best"),
    ],
)
def test_a_loss_that_is_not_finite_ends_it_and_the_step_is_named(at, kept):
    task, budget = task_of("plain"), "58steps" if at == 57 else "100steps"
    ends = end_of(task, 1), end_of(task, 2)
    found = train(replace(task, loss=failing(at, lambda x: x * math.inf)), budget=budget, ends=ends)
    assert found.note.startswith(f"the loss was not finite at step {at}, t = {chance(0, at - 1).t:.4f}; ")
    assert kept in found.note
    best = train(replace(task, loss=failing(0, None)), budget=budget, ends=ends)
    middle = torch.lerp(ends[0]["0.weight"], ends[1]["0.weight"], 0.5)
    assert all(bool(tensor.isfinite().all()) for tensor in found.points[1].values())
    assert torch.equal(found.points[1]["0.weight"], middle) == ("straight" in kept)
    assert best.losses[: len(found.losses)] == found.losses


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_not_finite_is_found_even_at_the_last_step(clip):
    loss = failing(12, lambda x: x + (x * 0).sqrt())  # the loss is as before, its derivative is not
    found = train(replace(task_of("plain"), loss=loss), budget="12steps", clip=clip)
    assert found.note.startswith(f"the gradient was not finite at step 12, t = {chance(0, 11).t:.4f}; ")


def test_a_budget_too_small_for_a_step_gives_the_line(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = train(task_of("plain"), budget="0.5s")
    assert (found.steps, found.note) == (
        0,
        "the budget of 0.5s was used before the first step; the path is the straight line",
    )


def test_the_smallest_share_of_an_epoch_is_a_step():
    assert train(task_of("plain"), budget="0.001epochs").steps == 1
    assert train(task_of("plain"), budget="1.5epochs", batch_size=8).steps == 8  # of five an epoch


def test_ends_that_are_equal_are_a_point():
    end = end_of(task_of("plain"), 1)
    found = train(task_of("plain"), ends=(end, dict(end)))
    assert found.steps == 0
    assert "the ends are equal" in found.note
    assert all(torch.equal(found.points[1][name], tensor) for name, tensor in end.items())


def test_builders_say_why_they_ended():
    display, end = Heard(), end_of(task_of("plain"), 1)
    Bezier(progress=display).build(end, dict(end), task_of("plain"))
    assert display.said == [
        "bezier: the ends are equal in all that is trained, so the curve is a point and nothing is trained"
    ]


def test_a_batch_larger_than_the_data_is_said():
    display = Heard()
    assert train(task_of("plain"), batch_size=100, budget="3epochs", progress=display).steps == 3
    assert display.said == ["batch_size 100 is more than the 40 training samples: every step takes all of them"]


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = VECTORS["plain"]()

    def forward(self, x):
        return self.inner(x).detach()


class Frozen(nn.Sequential):
    def __init__(self):
        super().__init__(*frozen())
        self.requires_grad_(False)


class Failing(nn.Module):
    """Works only in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.inner = VECTORS["plain"]()

    def forward(self, x):
        if self.training:
            raise RuntimeError("no\nway")
        return self.inner(x)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (Detached, r"the model \(Detached\): its outputs have no gradients"),
        (Frozen, r"the model \(Frozen\) has no parameter to train: all have requires_grad=False"),
        (nn.Identity, r"the model \(Identity\) has no parameters to train"),
        (Failing, r"the model \(Failing\) on a batch of inputs \(16, 5\): .*no way"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused_in_a_line(factory, words):
    task = replace(task_of("plain"), factory=factory)
    with pytest.raises(InputError, match=words) as refused:
        train(task)
    assert "\n" not in str(refused.value)


def test_an_augmentation_that_fails_is_named():
    task = replace(task_of("plain"), augment=lambda x: x.no_such_thing)
    with pytest.raises(InputError, match="the augmentation fails on a batch: "):
        train(task)


def test_one_sample_is_enough_unless_batch_norm_needs_more():
    one = {kind: task_of(kind) for kind in ("plain", "normed")}
    one = {kind: replace(task, train=task.train.head(1)) for kind, task in one.items()}
    assert train(one["plain"], budget="3epochs").steps == 3
    with pytest.raises(
        InputError, match=r"the model \(Sequential\) on a batch of inputs \(1, 5\): .*batch_size 2 or more"
    ):
        train(one["normed"])


def test_a_last_batch_of_one_sample_is_left_out():
    task = replace(task_of("normed"), train=task_of("normed").train.head(33))
    assert train(task, budget="3epochs", batch_size=16).steps == 6


def test_batches_whose_labels_are_all_ignored_are_left_out():
    task = task_of("plain")
    labels = task.train.targets()
    labels[:38] = -100
    task = replace(task, train=CachedSplit("train", task.train.inputs, labels))
    found = train(task, budget="4epochs", batch_size=2)
    assert 4 <= found.steps <= 8
    assert found.note == ""
    task = replace(task, train=task.train.head(30))
    with pytest.raises(InputError, match="gave no batch with labels that count"):
        train(task, batch_size=1)


def test_hidden_buffers_and_masks_of_infinities_are_taken_as_they_are():
    found = train(replace(task_of("buffered"), factory=Buffered), bends=2)
    assert "hidden" not in found.points[1]
    assert math.isfinite(found.losses[-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_what_the_processor_trains():
    task, device = task_of("normed"), torch.device("cuda")
    there = replace(task, train=task.train.to(device, task.dtype), device=device)
    here, found = train(task), train(there)
    assert found.losses == pytest.approx(here.losses, rel=1e-4)
    for name, tensor in here.points[1].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found.points[1][name].cpu(), tensor, rtol=1e-3, atol=1e-4)
