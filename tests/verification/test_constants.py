"""Models whose program holds tensors that are no weights: guarantees are checked, not passed over."""

import pytest
import torch
from small_networks import CLASSES, N
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task


class MadeInForward(nn.Module):
    """Inputs are shifted by a tensor made in the forward pass."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(10, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.down(torch.relu(self.up(x - torch.tensor(0.1))))


class NotPersistent(MadeInForward):
    """The same with a buffer that is in no checkpoint, on the outputs as well."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.full((10,), 0.1), persistent=False)

    def forward(self, x):
        return self.down(torch.relu(self.up(x - self.shift)))


class ConstantBias(MadeInForward):
    """A hidden layer whose bias is in no checkpoint: a neuron without weights still speaks."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bias", torch.ones(8), persistent=False)

    def forward(self, x):
        return self.down(torch.relu(nn.functional.linear(x, self.up.weight, self.bias)))


def task_of(factory):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 10, generator=generator)
    return Task(factory, CachedSplit("train", x, torch.arange(N) % CLASSES))


def ends(factory):
    """Return weights with a silent hidden neuron, and the same with other weights that read it."""
    torch.manual_seed(0)
    a = {name: tensor.clone() for name, tensor in factory().state_dict().items()}
    a["up.weight"][3], a["up.bias"][3] = 0, 0
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["down.weight"][:, 3] += 1
    return a, b


@pytest.mark.parametrize("factory", [MadeInForward, NotPersistent])
def test_what_reads_a_silent_neuron_may_move(factory, tmp_path):
    Path.from_points(ends(factory), guarantees=["constant"]).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task_of(factory))
    assert found.holds, found.findings


@pytest.mark.parametrize("factory", [MadeInForward, NotPersistent])
def test_what_speaks_may_not(factory, tmp_path):
    a, b = ends(factory)
    b["up.weight"][2, 0] += 1e-6
    Path.from_points([a, b], guarantees=["constant"]).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task_of(factory))
    assert any("up.weight" in str(finding) for finding in found.findings if finding.kind == "constant")


def test_a_bias_that_is_no_weight_makes_a_neuron_heard(tmp_path):
    Path.from_points(ends(ConstantBias), guarantees=["constant"]).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task_of(ConstantBias))
    assert any("down.weight" in str(finding) for finding in found.findings if finding.kind == "constant")
