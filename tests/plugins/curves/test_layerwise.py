"""The layer-wise walk: moves and variances, that it arrives, what it reaches, and where it ends."""

import math
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from curve_modules import VECTORS, end_of, task_of
from curve_works import Heard, Kept, through_deaths
from small_networks import exact, mlp, trained, vector_task
from torch import nn

import connectivity_hooks_curves.training.run as run
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import custom_loss
from connectivity_hooks_curves.layerwise.builder import Layerwise, Options
from connectivity_hooks_curves.layerwise.layers import Move, layers_of, move, moves_of
from connectivity_hooks_curves.layerwise.walk import walk
from connectivity_hooks_curves.layerwise.walker import Walker
from connectivity_hooks_curves.training.module import FlatModule


def train(task, ends=None, seed=0, progress=None, work=None, **options):
    given = make_options(Options, {"budget": "30steps", "batch_size": 16, "rounds": 3, **options}, "layerwise")
    a, b = ends or (end_of(task, 1), end_of(task, 2))
    return walk(a, b, task, given, seed=seed, progress=progress or Heard(), work=work or Kept())


def assert_same(one, other):
    assert (one.steps, one.losses, one.note, one.positions) == (other.steps, other.losses, other.note, other.positions)
    for here, there in zip(one.points, other.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def test_a_move_goes_its_share_and_the_variance_lies_between():
    generator = np.random.default_rng(0)
    a, b, here = generator.normal(size=(6, 4)), 3 * generator.normal(size=(6, 4)) + 1, generator.normal(size=(6, 4))
    moved = torch.tensor(here)
    move(moved, torch.tensor(a), torch.tensor(b), 2, 5)
    expected = here + (b - here) / 4  # four of five moves are left
    wanted = 0.6 * a.var() + 0.4 * b.var()
    expected = expected.mean() + (expected - expected.mean()) * np.sqrt(wanted / expected.var())
    np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-12)
    assert float(moved.var(correction=0)) == pytest.approx(wanted)


def test_vectors_are_moved_and_constant_weights_are_not_scaled():
    bias, weight = torch.tensor([1.0, 5.0]), torch.full((2, 2), 3.0)
    move(bias, bias.clone(), torch.tensor([2.0, 5.0]), 1, 2)
    move(weight, torch.zeros(2, 2), torch.tensor([[5.0, 5.0], [5.0, 5.0]]), 1, 2)
    assert bias.tolist() == [1.5, 5.0]
    assert weight.tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_the_last_move_arrives_bit_for_bit():
    a, b = torch.randn(5, 5), torch.randn(5, 5)
    here = a.clone()
    for nth in (1, 2, 3):
        move(here, a, b, nth, 3)
        assert torch.equal(here, b) == (nth == 3)


def test_parameters_of_one_module_are_a_layer():
    names = ["0.weight", "0.bias", "block.norm.weight", "block.0.weight", "scale", "block.0.bias"]
    assert layers_of(names) == [
        ("0.weight", "0.bias"),
        ("block.norm.weight",),
        ("block.0.weight", "block.0.bias"),
        ("scale",),
    ]
    model = VECTORS["parametrised"]()
    layers = layers_of(name for name, _ in model.named_parameters())
    assert [{name[0] for name in layer} for layer in layers] == [{"0"}, {"2"}]


def test_every_layer_moves_once_in_a_round():
    assert moves_of(2, 3) == [Move(0, 1), Move(1, 1), Move(0, 2), Move(1, 2), Move(0, 3), Move(1, 3)]


@pytest.mark.parametrize("kind", sorted(VECTORS))
def test_layers_that_arrived_stay_and_the_others_are_trained(kind):
    task = task_of(kind)
    a, b = end_of(task, 1), end_of(task, 2)
    flat = FlatModule(task.model())
    flat.load(a)
    flat.model.train()
    walker = Walker(flat, a, b, 2)
    for each in moves_of(len(walker.layers), 2)[:-1]:
        walker.make(each)
        walker.write()
        flat.attach()
        task.loss(task.forward(flat.model, task.train.inputs), task.train.targets()).backward()
        walker.train(0.01, 0.1, 1.0)
    found = flat.weights(walker.copy(), a)
    for name in flat.names:
        assert torch.equal(found[name], b[name]) == (name not in walker.layers[-1])


def test_the_last_leg_moves_the_last_layer_alone():
    task = task_of("plain")
    found = train(task, points=3)
    assert len(found.points) == 5
    *_, before, end = found.points
    assert [name for name in end if not torch.equal(before[name], end[name])] == ["2.weight", "2.bias"]
    assert found.positions == pytest.approx((0, 2 / 6, 4 / 6, 5 / 6, 1))


@pytest.mark.parametrize(("points", "kept"), [(1, 1), (4, 4), (100, 5)])
def test_no_more_points_are_kept_than_asked_for(points, kept):
    found = train(task_of("plain"), points=points)
    assert len(found.points) == kept + 2
    assert found.positions[-2] == pytest.approx(5 / 6)


def test_a_walk_avoids_the_barrier_of_the_line():
    task = vector_task(lambda: mlp(24))
    a, b = (trained(task, seed, steps=100) for seed in (1, 2))
    options = make_options(Options, {"budget": "200steps", "lr": 3e-3}, "layerwise")
    path = Layerwise(options).build(a, b, task)
    ts = [i / 20 for i in range(21)]
    line = Path.from_points([a, b])
    worst_end = max(exact(task, end, task.train)[1] for end in (a, b))
    barrier, left = (max(exact(task, p(t), task.train)[1] for t in ts) - worst_end for p in (line, path))
    assert barrier > 0.1
    assert left < 0.4 * barrier


def test_one_seed_gives_one_walk_whatever_the_global_state():
    task = replace(task_of("normed"), factory=lambda: nn.Sequential(VECTORS["normed"](), nn.Dropout(0.3)))
    task = replace(task, augment=lambda x: x + 0.1 * torch.randn_like(x))
    first = train(task)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(99)
        assert_same(first, train(task))
    assert train(task, seed=1).losses != first.losses


def test_what_is_frozen_and_buffers_lie_on_the_line_and_the_rest_does_not():
    for task, names in ((task_of("frozen"), ["0.weight", "0.bias"]), (task_of("buffered"), ["scale", "mask"])):
        a, b = end_of(task, 1), end_of(task, 2)
        found = train(task, ends=(a, b), points=2)
        for t, point in zip(found.positions[1:-1], found.points[1:-1], strict=True):
            for name in names:
                line = torch.where(a[name] == b[name], a[name], a[name] + (b[name] - a[name]) * t)
                torch.testing.assert_close(point[name], line, rtol=1e-12, atol=1e-12)
            assert all(t.is_floating_point() or torch.equal(t, a[name]) for name, t in point.items())


def test_tied_weights_stay_one():
    for point in train(task_of("tied")).points[1:-1]:
        assert torch.equal(point["encode.weight"], point["decode.weight"])


@pytest.mark.parametrize("kind", ["recurrent", "returning", "mixed"])
def test_batches_and_outputs_of_every_form_are_trained(kind):
    found = train(task_of(kind), budget="60steps")
    assert found.steps == 60
    assert math.isfinite(found.losses[-1])


def test_below_the_target_it_moves_on():
    assert train(task_of("plain"), budget="60steps", target=100.0).steps == 5  # one after each move but the last
    assert train(task_of("plain"), budget="60steps", target=1e-9).steps == 60


def failing(at, how):
    """Return a loss that is `how` of itself at one step."""
    steps = [0]

    def loss(outputs, targets):
        steps[0] += 1
        values = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return how(values) if steps[0] == at else values

    return custom_loss("failing", loss, convex=False)


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(
    ("at", "t", "kept"),
    [(3, 1 / 6, "the path is the straight line"), (22, 4 / 6, "from t = 0.5000 on the path is straight")],
)
def test_a_loss_that_is_not_finite_ends_it_and_the_step_is_named(at, t, kept, what):
    def worse(loss):
        return loss * math.inf if what == "loss" else loss + (loss * 0).sqrt()

    found = train(replace(task_of("plain"), loss=failing(at, worse)))
    assert found.note == f"the {what} was not finite at step {at}, t = {t:.4f}; {kept}; a smaller lr may help"
    whole = train(replace(task_of("plain"), loss=failing(0, None)))
    count = len(found.points) - 1
    assert found.positions == (*whole.positions[:count], 1.0)
    for here, there in zip(found.points[:count], whole.points[:count], strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def test_a_budget_too_small_for_a_step_gives_the_line(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = train(task_of("plain"), budget="0.5s")
    assert (found.steps, len(found.points)) == (0, 2)
    assert found.note == "the budget of 0.5s was used before the first step; the path is the straight line"


@pytest.mark.parametrize("budget", ["1steps", "2steps"])
def test_fewer_steps_than_moves_are_taken(budget):
    found = train(task_of("plain"), budget=budget, rounds=10)
    assert found.steps == int(budget[0])
    assert found.note == ""


def test_ends_that_are_equal_are_a_line():
    end = end_of(task_of("plain"), 1)
    found = train(task_of("plain"), ends=(end, dict(end)))
    assert (found.steps, len(found.points)) == (0, 2)
    assert "the ends are equal" in found.note


def test_one_move_is_the_straight_line():
    task = replace(task_of("plain"), factory=lambda: nn.Linear(5, 3))
    found = train(task, rounds=1)
    assert (found.steps, found.positions) == (0, (0.0, 1.0))
    assert found.note.startswith("one layer in one round is one move")


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = VECTORS["plain"]()

    def forward(self, x):
        return self.inner(x).detach()


def test_a_forward_without_gradients_is_refused_in_a_line():
    task = replace(task_of("plain"), factory=Detached)
    with pytest.raises(InputError, match=r"the model \(Detached\): its outputs have no gradients") as refused:
        train(task)
    assert "\n" not in str(refused.value)


def test_builders_say_why_they_ended():
    display, end = Heard(), end_of(task_of("plain"), 1)
    Layerwise(progress=display).build(end, dict(end), task_of("plain"))
    assert display.said == [
        "layerwise: the ends are equal in all that is trained, so the path is the straight line and nothing is trained"
    ]


def spectral():
    """Return a network that keeps u and v, and draws at random."""
    return nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)), nn.Dropout(0.2))


TASKS = {
    "plain": lambda: task_of("plain"),
    "spectral": lambda: replace(task_of("normed"), factory=spectral),
    "augmented": lambda: replace(task_of("normed"), augment=lambda x: x + 0.1 * torch.randn_like(x)),
    "mixed": lambda: task_of("mixed"),
}


@pytest.mark.parametrize("target", [None, 1.3])
@pytest.mark.parametrize("kind", TASKS)
def test_a_walk_killed_again_and_again_is_the_same(kind, target):
    task = TASKS[kind]()
    options = {"budget": "70steps", "points": 4, "target": target}
    whole = train(task, **options)
    found, work = through_deaths(lambda work: train(task, work=work, **options), 1, 2, 4)
    assert_same(found, whole)
    assert work.saved == whole.steps  # no step was taken twice
    if target is None:
        found, _ = through_deaths(lambda work: train(task, work=work, **options), 13, 50, 51, 69, 70)
        assert_same(found, whole)


def test_what_went_wrong_is_the_same_after_a_kill():
    task = replace(task_of("plain"), augment=lambda x: x * (1e400 if torch.rand(()) < 0.01 else 1.0))
    whole = train(task, budget="400steps")
    assert "was not finite at step" in whole.note
    assert whole.steps > 55
    found, _ = through_deaths(lambda work: train(task, work=work, budget="400steps"), 51, 54)
    assert_same(found, whole)
