"""The nudged elastic band: projected gradients, spacing, insertion, what it reaches, and where it ends."""

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
from torch.func import functional_call

import connectivity_hooks_curves.training.run as run
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import custom_loss
from connectivity_hooks_curves.autoneb.band import train_band
from connectivity_hooks_curves.autoneb.builder import AutoNEB, Options
from connectivity_hooks_curves.autoneb.chain import Chain
from connectivity_hooks_curves.autoneb.geometry import redistributed
from connectivity_hooks_curves.autoneb.survey import Survey
from connectivity_hooks_curves.training.module import FlatModule


def train(task, ends=None, seed=0, progress=None, work=None, **options):
    given = make_options(Options, {"budget": "30steps", "batch_size": 16, "cycles": 3, **options}, "autoneb")
    a, b = ends or (end_of(task, 1), end_of(task, 2))
    return train_band(a, b, task, given, seed=seed, progress=progress or Heard(), work=work or Kept())


def assert_same(one, other):
    assert (one.steps, one.saddles, one.note, one.positions) == (
        other.steps,
        other.saddles,
        other.note,
        other.positions,
    )
    for here, there in zip(one.points, other.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def by_hand(task, points, losses, index, decay):
    """Return the projected gradient at a point of a chain by autograd and numpy, in float64, by name."""
    model = task.model().train()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    weights = {name: tensor.clone() for name, tensor in points[index].items()}
    for name in names:
        weights[name] = weights[name].double().to(weights[name].dtype).requires_grad_()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        weights[name] = weights[next(n for n, p in model.named_parameters() if p is parameter)]
    outputs = functional_call(model, weights, (task.train.inputs,))
    loss = nn.functional.cross_entropy(outputs, task.train.targets())
    penalised = loss + decay / 2 * sum((weights[name].double() ** 2).sum() for name in names)
    found = torch.autograd.grad(penalised, [weights[name] for name in names])
    gradient = np.concatenate([g.double().numpy().ravel() for g in found])
    here, before, after = (
        np.concatenate([points[i][name].double().numpy().ravel() for name in names])
        for i in (index, index - 1, index + 1)
    )
    direction = after - here if losses[index + 1] > losses[index - 1] else here - before
    unit = direction / np.linalg.norm(direction)
    return names, np.linalg.norm(gradient), gradient - (gradient @ unit) * unit


@pytest.mark.parametrize("losses", [[0.1, 9.0, 0.4, 0.3, 0.1], [0.5, 9.0, 0.4, 0.3, 0.6]])
@pytest.mark.parametrize("kind", sorted(VECTORS))
def test_gradients_are_projected_off_the_chain(kind, losses):
    task = task_of(kind)
    a, b = end_of(task, 1), end_of(task, 2)
    flat = FlatModule(task.model())
    flat.load(a)
    flat.model.train()
    chain = Chain(flat, a, b, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for point in chain.points[1:-1]:
            for vector in point:
                vector.add_(0.3 * torch.randn_like(vector))
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if kind == "mixed" else {"rtol": 1e-9, "atol": 1e-12}
    buffers = {
        name: t for name, t in a.items() if name not in dict(flat.model.named_parameters(remove_duplicate=False))
    }
    for index, decay in ((1, 0.0), (2, 0.3), (3, 0.0)):
        chain.losses.copy_(torch.tensor(losses))
        flat.load(a)  # buffers and what is frozen
        chain.write(index)
        flat.attach()
        points = [{**weights, **buffers} for weights in chain.weights()]
        points[index] |= {name: a[name] for name in a if name not in flat.names and name not in points[index]}
        if kind == "frozen":
            points[index] |= {name: a[name] for name in ("0.weight", "0.bias")}
        loss = task.loss(task.forward(flat.model, task.train.inputs), task.train.targets())
        loss.backward()
        norm = chain.move(index, loss, 0.0, decay, None)
        names, expected_norm, expected = by_hand(task, points, losses, index, decay)
        found = {}
        for group, vector in zip(flat.groups, chain._gradient, strict=True):
            found |= group.views(vector)
        stacked = np.concatenate([found[name].double().numpy().ravel() for name in names])
        np.testing.assert_allclose(stacked, expected, **tolerance)
        assert float(norm) == pytest.approx(expected_norm, rel=1e-4)
        assert np.abs(expected).max() > 1e-4


def test_a_step_clips_the_gradient_before_it_is_projected():
    task = task_of("plain")
    flat = FlatModule(task.model())
    chain = Chain(flat, end_of(task, 1), end_of(task, 2), 1)
    gradients = []
    for clip in (None, 1e-3):
        chain.write(1)
        flat.attach()
        loss = task.loss(task.forward(flat.model, task.train.inputs), task.train.targets())
        loss.backward()
        norm = float(chain.move(1, loss, 0.0, 0.0, clip))
        gradients.append(chain._gradient[0].clone())
    torch.testing.assert_close(gradients[1], gradients[0] * 1e-3 / norm)


def test_pivots_are_spaced_along_the_chain():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(5, 7))
    shares = [0.1, 0.4, 0.25, 0.25]
    found = redistributed([[torch.tensor(p[:3]), torch.tensor(p[3:])] for p in points], shares)
    reached = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    wanted = np.cumsum(shares)[:-1] * reached[-1]
    expected = np.stack([np.interp(wanted, reached, column) for column in points.T], axis=1)
    np.testing.assert_allclose(torch.stack([torch.cat(parts) for parts in found]).numpy(), expected, rtol=1e-12)


def test_t_is_the_share_of_the_length():
    found = train(task_of("mixed"), budget="60steps", lr=0.03, excess=1e-6, most=5)
    assert len(found.points) > 3
    names = [name for name, tensor in found.points[0].items() if tensor.is_floating_point()]
    points = np.stack([np.concatenate([p[n].double().numpy().ravel() for n in names]) for p in found.points])
    reached = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    np.testing.assert_allclose(found.positions, reached / reached[-1], atol=1e-6)
    assert (found.positions[0], found.positions[-1]) == (0.0, 1.0)


HUMPS = Survey([1.0, 2.0, 1.0, 1.0], [[1.3, 1.5, 1.7], [1.0, 3.0, 2.9], [1.0, 1.25, 1.0]], [0.3, 0.3, 0.4])


@pytest.mark.parametrize(
    ("excess", "most", "expected"),
    [
        (0.1, 9, [(2, 0.5), (1, 0.75)]),  # the range is 2, the excesses are 0, 1.65 and 0.25
        (0.2, 9, [(1, 0.75)]),
        (0.1, 1, [(1, 0.75)]),
        (0.1, 0, []),
    ],
)
def test_pivots_are_inserted_where_the_loss_exceeds_the_line(excess, most, expected):
    assert HUMPS.wanted(excess, most) == expected


def test_segments_too_short_to_matter_are_not_divided():
    assert replace(HUMPS, shares=[0.5, 0.4995, 0.0005]).wanted(0.1, 9) == [(1, 0.75)]


def test_a_loss_that_is_not_finite_asks_for_no_pivot():
    survey = Survey([1.0, math.nan, 1.0], [[1.0, 1.0, 1.0], [1.0, 9.0, 1.0]], [0.5, 0.5])
    assert survey.rank == (math.inf, math.inf)
    assert survey.wanted(0.1, 9) == []


def test_chains_are_ranked_by_the_saddle_and_then_by_the_mean_over_the_length():
    ts, losses = [0.0], [HUMPS.pivots[0]]
    for segment, share in enumerate(HUMPS.shares):
        left = sum(HUMPS.shares[:segment])
        ts += [left + share * at for at in (0.25, 0.5, 0.75, 1)]
        losses += [*HUMPS.between[segment], HUMPS.pivots[segment + 1]]
    assert HUMPS.rank == pytest.approx((3.0, np.trapezoid(losses, ts)))


def test_an_inserted_pivot_lies_on_the_chain_and_shares_its_segment():
    task = task_of("plain")
    flat = FlatModule(task.model())
    chain = Chain(flat, end_of(task, 1), end_of(task, 2), 1)
    before = [point[0].clone() for point in chain.points]
    chain.insert([(1, 0.25), (0, 0.5)], [1.0, 3.0, 2.0])
    assert chain.shares == [0.25, 0.25, 0.125, 0.375]
    torch.testing.assert_close(chain.losses, torch.tensor([1.0, 2.0, 3.0, 2.75, 2.0]))
    torch.testing.assert_close(chain.points[1][0], (before[0] + before[1]) / 2)
    torch.testing.assert_close(chain.points[3][0], 0.75 * before[1] + 0.25 * before[2])
    assert torch.equal(chain.points[2][0], before[1])
    assert chain.ts == pytest.approx([0, 0.25, 0.5, 0.625, 1])


def test_the_saddle_lies_far_below_the_barrier_of_the_line():
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    from connectivity_hooks.tasks import CachedSplit, Task

    def network():
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))

    task = Task(network, CachedSplit("train", torch.tensor(x / 16).float(), torch.tensor(y)))
    a, b = (trained(task, seed, steps=150, rate=5e-3) for seed in (1, 2))
    path = AutoNEB(make_options(Options, {"budget": "300steps", "lr": 1e-2}, "autoneb")).build(a, b, task)
    ts = [i / 20 for i in range(21)]
    line = max(exact(task, {name: torch.lerp(a[name], b[name], t) for name in a}, task.train)[1] for t in ts)
    saddle = max(exact(task, path(t), task.train)[1] for t in ts)
    end = max(exact(task, end, task.train)[1] for end in (a, b))
    assert line - end > 0.5
    assert saddle - end < 0.25 * (line - end)


def test_what_is_returned_is_the_chain_of_the_lowest_measured_saddle():
    task = vector_task(lambda: mlp(24))
    ends = trained(task, 1, steps=100), trained(task, 2, steps=100)
    found = train(task, ends=ends, budget="200steps", lr=0.02, cycles=5, samples=240, batch_size=240)
    assert len(found.saddles) == 6
    assert min(found.saddles) < 0.6 * found.saddles[0]
    weights = zip(found.points, found.points[1:], strict=False)
    between = [{n: torch.lerp(p[n], q[n], at) for n in p} for p, q in weights for at in (0, 0.25, 0.5, 0.75)]
    measured = max(exact(task, each, task.train)[1] for each in [*between, found.points[-1]])
    assert measured == pytest.approx(min(found.saddles), rel=1e-5)


def test_a_chain_that_got_worse_is_not_returned():
    task = vector_task(lambda: mlp(24))
    end = trained(task, 1, steps=100)
    near = {name: tensor + 1e-4 for name, tensor in end.items()}
    found = train(task, ends=(end, near), lr=1.0)
    assert found.note == (
        "no cycle had lower losses than the straight line, which is the path; a larger budget may help"
    )
    torch.testing.assert_close(found.points[1]["1.weight"], torch.lerp(end["1.weight"], near["1.weight"], 0.5))


def test_one_seed_gives_one_chain_whatever_the_global_state():
    task = replace(task_of("normed"), factory=lambda: nn.Sequential(VECTORS["normed"](), nn.Dropout(0.3)))
    task = replace(task, augment=lambda x: x + 0.1 * torch.randn_like(x))
    first = train(task, lr=0.03)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(99)
        assert_same(first, train(task, lr=0.03))
    assert train(task, seed=1, lr=0.03).saddles != first.saddles


def test_what_is_frozen_and_buffers_lie_on_the_line_and_the_rest_does_not():
    for task, names in ((task_of("frozen"), ["0.weight", "0.bias"]), (task_of("buffered"), ["scale", "mask"])):
        a, b = end_of(task, 1), end_of(task, 2)
        found = train(task, ends=(a, b), pivots=2, lr=0.05)
        for t, point in zip(found.positions[1:-1], found.points[1:-1], strict=True):
            for name in names:
                line = torch.where(a[name] == b[name], a[name], a[name] + (b[name] - a[name]) * t)
                torch.testing.assert_close(point[name], line, rtol=1e-12, atol=1e-12)
            moved = next(n for n in a if n.endswith("2.weight"))
            assert not torch.allclose(point[moved], a[moved] + (b[moved] - a[moved]) * t)
            assert all(t.is_floating_point() or torch.equal(t, a[name]) for name, t in point.items())


def test_tied_weights_stay_one():
    for point in train(task_of("tied"), lr=0.03).points[1:-1]:
        assert torch.equal(point["encode.weight"], point["decode.weight"])


@pytest.mark.parametrize("kind", ["recurrent", "returning", "mixed"])
def test_batches_and_outputs_of_every_form_are_trained(kind):
    found = train(task_of(kind), budget="90steps", lr=0.03)
    assert min(found.saddles) <= found.saddles[0]
    assert found.steps == 90


def test_it_stops_below_the_target():
    found = train(task_of("plain"), budget="60steps", target=100.0)
    assert found.steps == 20
    assert found.note == (
        f"after 20 steps the largest training loss measured along the path was {found.saddles[-1]:.4g}, "
        "below the target of 100"
    )


def failing(at, how):
    """Return a loss that is `how` of itself at one step; passes without gradients are no steps."""
    steps = [0]

    def loss(outputs, targets):
        steps[0] += outputs.requires_grad
        values = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return how(values) if steps[0] == at and outputs.requires_grad else values

    return custom_loss("failing", loss, convex=False)


@pytest.mark.parametrize(
    ("at", "kept"), [(3, "the path is the straight line"), (57, "the best points before are kept")]
)
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_it_and_the_step_is_named(at, kept, what):
    def worse(loss):
        return loss * math.inf if what == "loss" else loss + (loss * 0).sqrt()

    found = train(replace(task_of("plain"), loss=failing(at, worse)), budget="75steps", lr=0.02, pivots=3)
    assert found.note.startswith(f"the {what} was not finite at step {at}, t = 0.")
    assert found.note.endswith(f"; {kept}; a smaller lr may help")
    assert all(bool(tensor.isfinite().all()) for point in found.points for tensor in point.values())
    if at == 3:
        assert "t = 0.7500" in found.note  # the third of three pivots
    else:
        whole = train(replace(task_of("plain"), loss=failing(0, None)), budget="75steps", lr=0.02, pivots=3)
        assert whole.saddles[: len(found.saddles)] == found.saddles


def test_a_budget_too_small_for_a_step_gives_the_line(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = train(task_of("plain"), budget="0.5s")
    assert found.steps == 0
    assert found.note == "the budget of 0.5s was used before the first step; the path is the straight line"


@pytest.mark.parametrize("budget", ["1steps", "2steps", "0.001epochs"])
def test_fewer_steps_than_cycles_are_taken(budget):
    found = train(task_of("plain"), budget=budget, cycles=20)
    assert found.steps == (2 if budget == "2steps" else 1)
    assert len(found.saddles) == found.steps + 1


def test_ends_that_are_equal_are_a_point():
    end = end_of(task_of("plain"), 1)
    found = train(task_of("plain"), ends=(end, dict(end)))
    assert found.steps == 0
    assert "the ends are equal" in found.note
    assert all(torch.equal(found.points[1][name], tensor) for name, tensor in end.items())


def test_ends_that_differ_by_less_than_a_square_holds_are_a_point():
    task = task_of("plain", torch.float32)
    end = end_of(task, 1)
    end["0.bias"][0] = 0.0
    near = {**end, "0.bias": end["0.bias"].clone()}
    near["0.bias"][0] = 1e-30
    found = train(task, ends=(end, near))
    assert "the ends are equal" in found.note
    assert found.positions == (0.0, 0.5, 1.0)


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


def test_progress_tells_cycle_pivots_and_the_largest_loss():
    display = Heard()
    found = train(task_of("plain"), progress=display)
    assert display.total == 30
    assert display.labels[0] == f"training the band, cycle 1 of 3, 1 pivots, largest loss {found.saddles[0]:.4g}"


def test_builders_say_why_they_ended():
    display, end = Heard(), end_of(task_of("plain"), 1)
    AutoNEB(progress=display).build(end, dict(end), task_of("plain"))
    assert display.said == [
        "autoneb: the ends are equal in all that is trained, so the path is a point and nothing is trained"
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


@pytest.mark.parametrize("kind", TASKS)
def test_a_training_killed_again_and_again_ends_at_the_same_chain(kind):
    task = TASKS[kind]()
    options = {"budget": "70steps", "lr": 0.02, "excess": 1e-3, "most": 4}
    whole = train(task, **options)
    # after the first step, inside a cycle, at the ends of cycles (24, 47), next to the last
    found, work = through_deaths(lambda work: train(task, work=work, **options), 1, 13, 24, 47, 48, 69)
    assert_same(found, whole)
    assert work.saved == 70  # no step was taken twice
    assert work.state.note["chain"]["shares"] != [0.5, 0.5]  # pivots were inserted on the way


def test_what_went_wrong_is_the_same_after_a_kill():
    task = replace(task_of("plain"), augment=lambda x: x * (1e400 if torch.rand(()) < 0.01 else 1.0))
    whole = train(task, budget="400steps", pivots=3)
    assert "was not finite at step" in whole.note
    assert whole.steps > 55
    found, _ = through_deaths(lambda work: train(task, work=work, budget="400steps", pivots=3), 51, 54)
    assert_same(found, whole)
