"""The hub: one narrow network at which certified paths meet."""

import pytest
import torch
from small_networks import certified, exact, image_task, mlp, trained, vector_task
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths.joining import joined
from connectivity_hooks.progress import SILENT
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.hub import as_hub, train_hub
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.setting import Setting


def write_hub(task, file, seed=0):
    model = task.model()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = read_task(weights, task)
    weights, loss, _ = train_hub(model, Setting(network, task, EFFORTS["quick"], seed), 1e-3, SILENT)
    model.load_state_dict(weights)
    ch.save(model, file)
    return weights, loss


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    """Return a task, three ends, the hub's file and weights."""
    task = vector_task(lambda: mlp(24, 21, 24))
    file = tmp_path_factory.mktemp("hub") / "hub.safetensors"
    weights, _ = write_hub(task, file)
    return task, [trained(task, seed) for seed in range(3)], file, weights


def test_the_hub_is_a_checkpoint_of_the_model_with_half_of_the_neurons_silent(star):
    task, _, _, weights = star
    hub = as_hub(weights, read_task(weights, task), 0.0)
    assert [len(mine) for mine, _ in hub.sides.by_space[1:-1]] == [12, 10, 12]
    cleared = {name: tensor.clone() for name, tensor in weights.items()}
    for space, layer in zip(hub.sides.by_space[1:-1], ("1", "3", "5"), strict=True):
        cleared[f"{layer}.weight"][space[1]] = 7.0
    torch.testing.assert_close(exact(task, cleared, task.test)[0], exact(task, weights, task.test)[0])


def test_the_hub_fits_the_task(star):
    task, _, _, weights = star
    assert exact(task, weights, task.train)[1] < 0.1


def test_a_path_over_the_hub_is_proven_and_passes_it_bit_for_bit(star, tmp_path):
    task, ends, file, weights = star
    path = certified(hub=str(file)).build(ends[0], ends[1], task)
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task, interior=5)
    assert found.holds, found.findings
    at = [all(torch.equal(point[name], weights[name]) for name in weights) for point in path.points()]
    assert sum(at) >= 1
    largest = max(exact(task, w, task.train)[1] for w in (*ends[:2], weights))
    assert found.bound["train"] == pytest.approx(largest, rel=1e-4)


def test_an_end_that_is_the_hub_has_half_the_path(star):
    task, ends, file, weights = star
    whole = certified(hub=str(file)).build(ends[0], ends[1], task)
    half = certified(hub=str(file)).build(ends[0], weights, task)
    assert 2 * len(half.guarantees) == len(whole.guarantees)
    nothing = certified(hub=str(file)).build(weights, weights, task)
    assert nothing.guarantees == ("constant",)


def test_half_paths_join_to_a_proven_path_between_every_pair(star, tmp_path):
    task, ends, file, weights = star
    halves = [certified(hub=str(file), effort="quick").build(end, weights, task) for end in ends]
    path = joined(halves[2], halves[0])
    for t, end in ((0.0, ends[2]), (0.5, weights), (1.0, ends[0])):
        assert all(torch.equal(tensor, end[name]) for name, tensor in path(t).items())
    path.save(tmp_path / "p.path.safetensors")
    assert ch.verify(tmp_path / "p.path.safetensors", task).holds


def test_paths_that_end_elsewhere_are_not_joined(star):
    task, ends, file, weights = star
    half = certified(hub=str(file), effort="quick").build(ends[0], weights, task)
    other = certified(hub=str(file), effort="quick").build(weights, ends[1], task)
    with pytest.raises(InputError, match="do not end at the same weights"):
        joined(half, other)


def test_a_network_that_uses_every_neuron_is_no_hub(star, tmp_path):
    task, ends, _, _ = star
    model = task.model()
    model.load_state_dict(ends[2])
    ch.save(model, tmp_path / "full.safetensors")
    with pytest.raises(InputError, match=r"uses 24 of the 24 neurons of 1\.weight"):
        certified(hub=str(tmp_path / "full.safetensors")).build(ends[0], ends[1], task)


def test_a_hub_of_convolutions_with_batch_norm(tmp_path):
    task = image_task(
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
    )
    write_hub(task, tmp_path / "hub.safetensors")
    path = certified(hub=str(tmp_path / "hub.safetensors"), effort="quick").build(
        trained(task, 1), trained(task, 2), task
    )
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task)
    assert found.holds, found.findings
    assert found.bound["train"] < 0.5
