"""Between two checkpoints a spectral norm divides by the largest singular value of the weight there."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from connectivity_hooks.cli.sample import command
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.spectral_norm import recompute, spectral_norms
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task

OLD, NEW = nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm


def make(wrap):
    """Return convolutions and linear maps, wide, tall and square, all but the last divided."""
    layers = [nn.Conv2d(2, 6, 3), nn.ConvTranspose2d(6, 6, 2), nn.Flatten(), nn.Linear(150, 8), nn.Linear(8, 8)]
    layers = [wrap(layer) if hasattr(layer, "weight") else layer for layer in layers]
    return nn.Sequential(*layers, nn.Linear(8, 3)).double()


def trained(wrap, seed):
    """Return weights whose u and v are converged, with a sign of their own."""
    torch.manual_seed(seed)
    net = make(wrap).train()
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(400):
            net(x)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for name in weights:
        if seed and name.endswith(("_u", "_v")):
            weights[name] = -weights[name]
    return weights


def outputs(weights, x):
    """Return what the network computes with each weight divided by its norm by a singular value decomposition."""

    def divided(index):
        name = (
            f"{index}.weight_orig" if f"{index}.weight_orig" in weights else f"{index}.parametrizations.weight.original"
        )
        weight = weights[name]
        matrix = weight.transpose(0, 1) if index == 1 else weight
        return weight / torch.linalg.matrix_norm(matrix.flatten(1), 2), weights[f"{index}.bias"]

    x = nn.functional.conv_transpose2d(nn.functional.conv2d(x, *divided(0)), *divided(1)).flatten(1)
    for index in (3, 4):
        x = nn.functional.linear(x, *divided(index))
    return nn.functional.linear(x, weights["5.weight"], weights["5.bias"])


@pytest.fixture(params=[OLD, NEW], ids=["hook", "parametrization"])
def path(request):
    return request.param, Path.from_points([trained(request.param, seed) for seed in (0, 1)])


def test_the_loss_between_is_that_of_the_divided_weights(path):
    wrap, path = path
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 3, (20,), generator=generator)
    task = Task(lambda: make(wrap), CachedSplit("train", x, y), dtype=torch.float64)
    evaluation = evaluate(path, task, points=5, refine=0)
    for point in evaluation.curves["train"]:
        expected = nn.functional.cross_entropy(outputs(path(point.t), x), y)
        assert point.loss == pytest.approx(float(expected), rel=1e-3)
    assert any("u and v of 0." in note for note in evaluation.notes)


def test_every_axis_is_found_and_the_vectors_are_singular_ones(path):
    _, path = path
    norms = spectral_norms(path.start)
    assert [norm.dim for norm in norms] == [0, 1, 0, 0]
    middle = path(0.5)
    recompute(norms, middle)
    for norm in norms:
        matrix = middle[norm.weight].movedim(norm.dim, 0).flatten(1)
        largest = torch.linalg.matrix_norm(matrix, 2)
        assert float(middle[norm.u] @ matrix @ middle[norm.v]) == pytest.approx(float(largest), rel=1e-3)


def test_points_of_the_path_keep_their_own_vectors(path):
    wrap, path = path
    x = torch.randn(6, 2, 6, 6, dtype=torch.float64)
    ends = [{name: tensor.clone() for name, tensor in point.items()} for point in path.points()]
    for end in ends:
        for norm in spectral_norms(end):
            end[norm.u] *= 0.5
    task = Task(lambda: make(wrap), CachedSplit("train", x, torch.zeros(6, dtype=torch.long)), dtype=torch.float64)
    evaluation = evaluate(Path.from_points(ends), task, points=2, refine=0)
    for end, point in zip(ends, evaluation.curves["train"], strict=True):
        net = make(wrap).eval()
        net.load_state_dict(end)
        net.requires_grad_(False)
        assert point.loss == pytest.approx(float(nn.functional.cross_entropy(net(x), task.train.targets())), rel=1e-9)


def test_a_sampled_checkpoint_holds_singular_vectors(path, tmp_path):
    wrap, path = path
    path.save(tmp_path / "p.path.safetensors")
    file = tmp_path / "middle.safetensors"
    command.main([str(tmp_path / "p.path.safetensors"), "-t", "0.5", "-o", str(file)], standalone_mode=False)
    net, x = make(wrap).eval(), torch.randn(6, 2, 6, 6, dtype=torch.float64)
    net.load_state_dict(load_file(file))
    torch.testing.assert_close(net(x), outputs(path(0.5), x), rtol=1e-3, atol=1e-3)


def test_a_buffer_of_another_kind_by_the_same_name_is_left_alone():
    net = nn.Linear(3, 3)
    net.register_buffer("gate_u", torch.ones(3))
    net.register_buffer("gate_v", torch.ones(2))
    net.register_buffer("gate_orig", torch.ones(3))
    assert spectral_norms(net.state_dict()) == ()
    moved = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    (note,) = buffer_notes(net, Path.from_points([net.state_dict(), moved]))
    assert "gate_u, gate_v, gate_orig" in note
