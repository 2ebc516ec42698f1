"""REPAIR: hidden channels between two networks have what lies between both ends' means and deviations."""

import pytest
import torch
from dying_journal import Dying, Killed
from repaired import channels, closed_form, corrected, ends_of, inputs_of, mlp, task_of
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import ModelOnPath
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.evaluation.model_on_path import Corrected
from connectivity_hooks.evaluation.sampling import corrected_sample, sampled
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.testing import CorrectionSuite
from connectivity_hooks_corrections.repair import Options, Repair


class Suite(nn.Module):
    """Layers that are corrected, one followed by a norm, an integer buffer, dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 5)
        self.norm, self.drop, self.head = nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(F.relu(self.third(self.drop(F.relu(self.norm(self.second(F.relu(self.first(x)))))))))


class TestRepairOfLayers(CorrectionSuite):
    correction = Repair

    def make_task(self):
        return task_of(Suite, inputs_of(97, 6, dtype=torch.float32), 32, torch.float32)

    def make_path(self):
        return Path.from_points(
            [{k: v.float() if v.is_floating_point() else v for k, v in w.items()} for w in ends_of(Suite)]
        )


@pytest.mark.parametrize("t", [0.03, 0.5, 0.8])
@pytest.mark.parametrize("batch_size", [1000, 16])
def test_the_weights_of_two_layers_are_those_of_the_definition(t, batch_size):
    def make():
        return mlp(5, 7, 3)

    x = inputs_of(120, 5) * 3 + 1
    _, found, (a, b) = corrected(make, x, t, batch_size=batch_size)
    weight, bias = closed_form(a, b, x, t)
    torch.testing.assert_close(found["0.weight"], weight, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found["0.bias"], bias, rtol=1e-10, atol=1e-10)
    own = sampled(Path.from_points([a, b]), t)
    assert same(found["2.weight"], own["2.weight"])
    assert same(found["2.bias"], own["2.bias"])


def trained(x, y, seed, widths, steps=300):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp(*widths)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (128,))
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: w.detach().clone() for name, w in model.state_dict().items()}


@pytest.fixture(scope="module")
def digits():
    """Return (task, ends) of networks of six hidden layers of 64 without norm."""
    x, y = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    x, widths = x.float() / 16, (64, *[64] * 6, 10)
    task = Task(lambda: mlp(*widths), CachedSplit("train", x, y), batch_size=len(x))
    return task, [trained(x, y, seed, widths) for seed in (1, 2)]


def test_between_deep_networks_the_values_vary_as_at_the_ends_and_fewer_samples_are_wrong(digits):
    task, (a, b) = digits
    path, hidden = Path.from_points([a, b]), [f"{2 * i}" for i in range(6)]
    x, make = task.train.inputs.double(), task.factory
    one, other, own, found = (
        channels(make, {k: v.double() for k, v in w.items()}, x)
        for w in (a, b, path(0.5), corrected_sample(path, 0.5, task, Repair()))
    )
    shrunk = [float(own[name].std(1).mean() / (one[name].std(1) + other[name].std(1)).mean() * 2) for name in hidden]
    assert shrunk[-1] < 0.5  # what is corrected: the values of the line collapse, layer by layer
    for name in hidden:
        expected = (one[name].std(1) + other[name].std(1)) / 2
        torch.testing.assert_close(found[name].std(1), expected, rtol=1e-3, atol=1e-3 * float(expected.mean()))
    plain, better = (ch.evaluate(path, task, points=3, refine=0, correct=how) for how in ("none", "repair"))
    wrong, fewer = (each.curves["train"][1].error for each in (plain, better))
    assert wrong > 0.7
    assert fewer < 0.85 * wrong  # 0.5 to 0.65 of it for the pairs of seeds that were tried
    assert better.barriers["train"].barrier_entezari < plain.barriers["train"].barrier_entezari


def test_statistics_of_small_batches_come_close(digits):
    task, points = digits
    small = Task(task.factory, task.train, batch_size=150)
    weights = corrected_sample(Path.from_points(points), 0.5, small, Repair())
    one, other, found = (
        channels(task.factory, {k: v.double() for k, v in w.items()}, task.train.inputs.double())
        for w in (*points, weights)
    )
    for name in list(found)[:-1]:
        expected = (one[name].std(1) + other[name].std(1)) / 2
        assert float((found[name].std(1) / expected - 1).abs().mean()) < 0.01


def test_between_the_points_of_a_path_its_neighbours_are_aimed_at_and_points_are_kept():
    def make():
        return mlp(5, 6, 6, 3)

    a, middle, b = ends_of(make, 3)
    path = Path.from_points([a, middle, b], positions=[0, 0.4, 1])
    x = inputs_of(60, 5)
    task = task_of(make, x)
    at = {t: corrected_sample(path, t, task, Repair()) for t in (0.2, 0.4, 0.7)}
    assert all(same(at[0.4][name], w) for name, w in middle.items())
    one, between, other = (channels(make, w, x) for w in (a, middle, b))
    for t, left, right in ((0.2, one, between), (0.7, between, other)):
        here = channels(make, at[t], x)
        for name in ("0", "2"):
            torch.testing.assert_close(here[name].std(1), (left[name].std(1) + right[name].std(1)) / 2)


def test_guaranteed_segments_are_neither_measured_nor_corrected():
    def make():
        return mlp(5, 6, 3)

    a, b = ends_of(make)
    moved = {**a, "2.weight": b["2.weight"], "2.bias": b["2.bias"]}
    path = Path.from_points([a, moved, b], guarantees=["convex", "measured"])
    moving = ModelOnPath(path, task_of(make, inputs_of(60, 5)))
    how = Corrected(moving, Repair())
    assert sorted(how._prepared._points) == [1, 2]
    own = path(0.25)
    how.go(0.25)
    assert all(same(moving.weights[name], w) for name, w in own.items())


def test_a_curve_aims_at_its_ends():
    def make():
        return mlp(5, 6, 3)

    a, c, b = ends_of(make, 3)
    path, x = Path.from_points([a, c, b], basis="bezier"), inputs_of(60, 5)
    weights = corrected_sample(path, 0.25, task_of(make, x), Repair())
    one, other, here = (channels(make, w, x) for w in (a, b, weights))
    torch.testing.assert_close(here["0"].std(1), torch.lerp(one["0"].std(1), other["0"].std(1), 0.25))


def test_as_many_samples_are_drawn_as_said_from_the_seed():
    def make():
        return mlp(5, 6, 3)

    path, x = Path.from_points(ends_of(make)), inputs_of(600, 5)
    task = task_of(make, x)
    found = [
        corrected_sample(path, 0.5, task, Repair(Options(samples), seed=seed))["0.weight"]
        for seed, samples in ((0, 50), (0, 50), (1, 50), (0, 600))
    ]
    assert same(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    torch.testing.assert_close(found[3], closed_form(path.start, path.end, x, 0.5)[0])


def test_one_sample_is_refused():
    path = Path.from_points(ends_of(lambda: mlp(5, 6, 3)))
    task = task_of(lambda: mlp(5, 6, 3), inputs_of(1, 5))
    with pytest.raises(InputError, match="repair cannot measure deviations of 1 training sample"):
        corrected_sample(path, 0.5, task, Repair())


def test_a_killed_evaluation_goes_on_and_ends_equal(tmp_path):
    path, subject = Path.from_points(ends_of(lambda: mlp(5, 6, 6, 3))), {"ends": ["1", "2"]}
    how = {"points": 7, "correct": Repair(seed=3)}
    task = task_of(lambda: mlp(5, 6, 6, 3), inputs_of(60, 5))
    whole = ch.evaluate(path, task, **how)
    with pytest.raises(Killed), Dying(tmp_path / "journal", subject) as journal:
        evaluate(path, task, record=journal, **how)
    with Journal(tmp_path / "journal", subject) as journal:
        resumed = evaluate(path, task, record=journal, **how)
    assert resumed.curves == whole.curves
