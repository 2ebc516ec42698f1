"""Training of connectors: its gradients by autograd, what it reaches, and that a kill changes nothing."""

import math
from dataclasses import replace

import pytest
import torch
from curve_modules import VECTORS, end_of, task_of
from curve_works import Kept, Killed
from small_networks import exact, mlp, trained, vector_task
from torch import nn
from torch.func import functional_call

from connectivity_hooks.contracts import UNKEPT, make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks_curves.simplex.builder import Simplex, complex_of
from connectivity_hooks_curves.simplex.complex import Place, Vertex
from connectivity_hooks_curves.simplex.points import Connectors, untrained_at
from connectivity_hooks_curves.simplex.star import Shares
from connectivity_hooks_curves.simplex.training import SimplexOptions, ZeroVolume, train_connectors
from connectivity_hooks_curves.training.draws import chance
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.untrained import Untrained


def train(task, modes=2, work=UNKEPT, seed=5, **options):
    given = make_options(SimplexOptions, {"budget": "30steps", "batch_size": 16, **options}, "simplex")
    return train_connectors([end_of(task, mode) for mode in range(modes)], task, given, seed=seed, work=work)


def assert_same(one, other):
    assert (one.steps, one.losses, one.note) == (other.steps, other.losses, other.note)
    for here, there in zip(one.connectors, other.connectors, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


@pytest.mark.parametrize("kind", sorted(VECTORS))
def test_the_module_has_the_weights_of_the_volume(kind):
    task = task_of(kind)
    modes = [end_of(task, seed) for seed in range(3)]
    flat = FlatModule(task.model())
    flat.load(modes[0])
    points, untrained = Connectors(flat, modes, 2, 0.0, 0), Untrained(flat, *modes, at=untrained_at)
    found = train(task, modes=3, budget="1steps")  # its names; the points are those of the beginning
    made = replace(found, connectors=points.weights())
    volume = complex_of(modes, [Vertex(f"{name}") for name in "abc"], made)
    for mode, shares in ((0, (1.0, 0.0, 0.0)), (1, (0.0, 0.3, 0.7)), (2, (0.2, 0.5, 0.3)), (1, (0.0, 0.0, 1.0))):
        points.write(Shares(mode, shares))
        untrained.write(Shares(mode, shares))
        flat.attach()
        there = volume.at(Place(mode, shares))
        for name, tensor in flat.model.state_dict().items():
            tolerance = 1e-6 if kind == "mixed" else 1e-12
            torch.testing.assert_close(tensor, there[name], rtol=tolerance, atol=tolerance)


def log_volume(vertices):
    """Return log V by the determinant of inner products, with its gradient."""
    edges = torch.stack([vertex - vertices[0] for vertex in vertices[1:]])
    return torch.logdet(edges @ edges.T) / 2 - math.lgamma(len(vertices))


@pytest.mark.parametrize("mode", [0, 1])
def test_a_step_follows_the_loss_at_a_place_and_the_volume(mode):
    task, shares, weight = task_of("plain"), (0.2, 0.5, 0.3), 0.07
    modes = [end_of(task, seed) for seed in range(2)]
    flat = FlatModule(task.model())
    flat.load(modes[0])
    points = Connectors(flat, modes, 2, weight, 0)
    begun = [dict(each) for each in points.weights()]
    points.write(Shares(mode, shares))
    flat.attach()
    inputs, targets = task.train.inputs, task.train.targets()
    nn.functional.cross_entropy(task.forward(flat.model, inputs), targets).backward()
    points.move(Shares(mode, shares), 0.0, 0.0, None)
    names = [name for group in flat.groups for name in group.names]
    leaves = [{name: each[name].clone().requires_grad_() for name in names} for each in begun]
    mixed = {
        name: shares[0] * modes[mode][name] + shares[1] * leaves[0][name] + shares[2] * leaves[1][name]
        for name in names
    }
    loss = nn.functional.cross_entropy(functional_call(task.model(), mixed, (inputs,)), targets)
    flatly = [torch.cat([each[name].flatten() for name in names]) for each in (*leaves, *modes)]
    whole = torch.stack([log_volume([*flatly[:2], end]) for end in flatly[2:]]).logsumexp(0)
    expected = torch.autograd.grad(loss - weight * whole, [leaf[name] for leaf in leaves for name in names])
    vectors = [torch.cat([g.flatten() for g in expected[i * len(names) : (i + 1) * len(names)]]) for i in range(2)]
    for point, gradient in zip(points._trained, vectors, strict=True):
        torch.testing.assert_close(point.grad, gradient, rtol=1e-8, atol=1e-12)


def test_the_whole_volume_is_low_where_the_middle_was_high():
    task = vector_task(lambda: mlp(24))
    modes = [trained(task, seed, steps=100) for seed in (1, 2, 3)]
    options = make_options(SimplexOptions, {"budget": "200steps", "lr": 1e-2}, "simplex")
    found = train_connectors(modes, task, options)
    volume = complex_of(modes, [Vertex(name) for name in "abc"], found)
    worst = max(exact(task, mode, task.train)[1] for mode in modes)
    middle = {name: sum(mode[name] for mode in modes) / 3 for name in modes[0]}
    barrier = exact(task, middle, task.train)[1] - worst
    drawn = [volume.at(volume.drawn(1, number)) for number in range(12)]
    assert barrier > 0.1
    assert max(exact(task, weights, task.train)[1] for weights in drawn) - worst < 0.4 * barrier


def test_the_regulariser_grows_the_volume():
    task = task_of("plain", torch.float32)
    ends = [Vertex("a"), Vertex("b")]
    modes = [end_of(task, mode) for mode in range(2)]
    volumes = [
        complex_of(modes, ends, train(task, volume=weight, budget="60steps", lr=0.01)).log_volume
        for weight in (0.0, 1e-2, 1.0)
    ]
    assert volumes[0] < volumes[1] - 0.1 < volumes[2] - 0.2


@pytest.mark.parametrize("kind", ["plain", "normed", "mixed", "recurrent"])
def test_a_training_killed_again_and_again_ends_in_the_same_volume(kind):
    task = task_of(kind)
    whole = train(task, modes=3, work=Kept(), budget="70steps")
    work = Kept(1, 13, 50, 51, 69)
    for _ in range(5):
        with pytest.raises(Killed):
            train(task, modes=3, work=work, budget="70steps")
    assert_same(train(task, modes=3, work=work, budget="70steps"), whole)
    assert work.saved == 70


def test_one_seed_gives_one_volume_whatever_the_global_state():
    task = replace(task_of("normed"), factory=lambda: nn.Sequential(VECTORS["normed"](), nn.Dropout(0.3)))
    first = train(task)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert_same(first, train(task))
    assert not torch.equal(first.connectors[0]["0.0.weight"], train(task, seed=6).connectors[0]["0.0.weight"])


def test_places_are_uniform():
    drawn = [Shares.drawn(chance(0, step), 3, 2) for step in range(6000)]
    for mode in range(3):
        shares = torch.tensor([place.shares for place in drawn if place.mode == mode], dtype=torch.float64)
        assert abs(len(shares) - 2000) < 150  # four standard deviations
        torch.testing.assert_close(shares.sum(1), torch.ones(len(shares), dtype=torch.float64))
        # Of Dir(1, 1, 1): mean 1/3, variance 1/18, covariance −1/36.
        expected = torch.full((3, 3), -1 / 36, dtype=torch.float64) + torch.eye(3, dtype=torch.float64) / 12
        torch.testing.assert_close(shares.mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), rtol=0, atol=0.022)
        torch.testing.assert_close(shares.T.cov(), expected, rtol=0, atol=0.007)


def test_equal_checkpoints_have_no_volume():
    task = task_of("plain")
    end = end_of(task, 1)
    with pytest.raises(ZeroVolume, match="checkpoints 1 and 3 are equal in all that is trained"):
        train_connectors([end, end_of(task, 2), dict(end)], task, SimplexOptions())


def test_what_goes_wrong_is_said_with_its_place():
    task = replace(task_of("plain"), augment=lambda x: x * 1e400)
    found = train(task, connectors=1)
    mode, share = Shares.drawn(chance(5, 0), 2, 1)
    assert found.note.startswith(f"the loss was not finite at step 1, at {share[0]:.2f} of checkpoint {mode + 1} and")
    assert "as they began" in found.note
    assert found.connectors[0]["0.weight"].isfinite().all()


def test_a_model_with_nothing_to_train_is_refused():
    def still():
        return VECTORS["plain"]().requires_grad_(False)

    task = task_of("plain")
    ends = [end_of(task, 1), end_of(task, 2)]
    with pytest.raises(InputError, match="no parameter to train"):
        train_connectors(
            ends, replace(task, factory=lambda: VECTORS["plain"]().requires_grad_(False)), SimplexOptions()
        )


def test_the_builder_of_equal_ends_says_so_and_returns_the_line():
    task, said = task_of("plain"), []
    builder = Simplex()
    builder.progress = type("Heard", (), {"say": lambda self, words: said.append(words)})()
    path = builder.build(end_of(task, 1), end_of(task, 1), task)
    assert len(path.positions) == 2
    assert said == ["simplex: the ends are equal in all that is trained, so the volume is zero"]
