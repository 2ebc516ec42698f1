"""Forward passes at points of a path, checks of its guarantees by them, and notes on its buffers."""

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.deviations import deviations
from connectivity_hooks.evaluation.model_on_path import ModelOnPath
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.evaluation.reliance import reliance
from connectivity_hooks.evaluation.running_statistics import statistics_of, tracked_norms
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture
def task():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Task(net, CachedSplit("train", x, torch.arange(50) % 3), dtype=torch.float64, batch_size=16)


def weights(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = {name: tensor.clone() for name, tensor in net().double().state_dict().items()}
    found["1.running_mean"] += seed
    return found


def outputs(weights, x):
    model = net().double().eval()
    model.load_state_dict(weights)
    return model(x).detach()


def test_outputs_are_those_of_the_weights_asked_for_in_any_order(task):
    path, x = Path.from_points([weights(1), weights(2)]), task.train.inputs
    with Passes(path, task) as passes:
        for t in (0.5, 0.0, 1.0, 0.5, 0.25):
            torch.testing.assert_close(passes.outputs(t, task.train), outputs(path(t), x), rtol=1e-12, atol=1e-12)
        passes.write(weights(3))
        found = torch.cat([value for _, value in passes.beside(None, task.train)])
        torch.testing.assert_close(found, outputs(weights(3), x), rtol=1e-12, atol=1e-12)
        assert same(passes.weights(1.0)["3.bias"], weights(2)["3.bias"])


def test_a_path_of_another_model_is_refused_before_anything_runs(task):
    ends = [{name: tensor for name, tensor in weights(seed).items() if name != "3.bias"} for seed in (1, 2)]
    with pytest.raises(InputError, match=r"does not fit the model: missing \['3\.bias'\]"):
        Passes(Path.from_points(ends), task)


def test_what_is_written_into_the_module_is_gone_at_the_next_t(task):
    moving = ModelOnPath(Path.from_points([weights(1), weights(2)]), task)
    for t in (0.5, 1.0):
        moving.go(t)
        for tensor in moving.weights.values():
            tensor.zero_()
        moving.model.extra = torch.ones(1)
        moving.go(t)
        assert all(same(tensor, moving.path(t)[name]) for name, tensor in moving.weights.items())
        assert not hasattr(moving.model, "extra")


def outer(a, b):
    return {**a, "3.weight": b["3.weight"], "3.bias": b["3.bias"]}


def test_a_guarantee_that_outputs_refute_is_not_relied_on(task):
    a, b = weights(1), weights(2)
    path = Path.from_points([a, outer(a, b), b], guarantees=["convex", "convex"])
    with Passes(path, task) as passes:
        checked = deviations(passes, path, path.guarantees, task)
        found = reliance(path, task, passes)
    assert [deviation.broken for deviation in checked] == [False, True]
    assert found.guarantees == ("convex", "measured")
    assert len(found.refuted) == 1
    assert "segment 1 (convex)" in found.refuted[0]


def test_a_path_without_guarantees_costs_no_check(task):
    path = Path.from_points([weights(1), weights(2)])
    assert reliance(path, task, None).guarantees == ("measured",)  # no pass is made


def test_running_statistics_are_found_where_they_are_kept():
    model = nn.Sequential(
        nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False), nn.InstanceNorm1d(3), nn.LazyBatchNorm1d()
    )
    assert list(tracked_norms(model)) == ["0"]
    assert [len(statistics_of(norm)) for norm in (model[0], model[1])] == [2, 0]


def test_buffers_that_move_are_noted_unless_a_correction_may_measure_them():
    path = Path.from_points([weights(1), weights(2)])
    assert buffer_notes(net(), path) == ()
    (note,) = buffer_notes(net(), path, left=("1",))
    assert "1.running_mean" in note
