"""Certified paths between residual networks (theory of the chain carried over to skips)."""

import pytest
import torch
from small_networks import CLASSES, assert_proven, certified, exact, image_task, trained, vector_task
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks_theorem.certified.builder import read_task


class Vectors(nn.Module):
    """Two blocks of two layers each over a stream of vectors; no norm."""

    def __init__(self, stream=40, inner=31):
        super().__init__()
        self.stem = nn.Linear(10, stream)
        self.up = nn.ModuleList(nn.Linear(stream, inner) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(inner, stream) for _ in range(2))
        self.head = nn.Linear(stream, CLASSES)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for up, down in zip(self.up, self.down, strict=True):
            x = torch.relu(x + down(torch.relu(up(x))))
        return self.head(x)


class Basic(nn.Module):
    def __init__(self, before, after, stride=1):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.skip(x))


class Bottleneck(nn.Module):
    def __init__(self, width, inner, groups=1):
        super().__init__()
        self.conv1, self.conv3 = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1, groups=groups)
        self.norm = nn.BatchNorm2d(inner)

    def forward(self, x):
        inner = torch.relu(self.conv2(torch.relu(self.norm(self.conv1(x)))))
        x = x + self.conv3(inner)
        return torch.nn.functional.silu(x)


class PreActivation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        inner = self.conv1(torch.relu(self.norm1(x)))
        return x + self.conv2(torch.relu(self.norm2(inner)))


class Gated(nn.Module):
    """Squeeze and excitation: every channel is multiplied by a gate computed from the means of all channels."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x):
        inner = torch.relu(self.norm(self.conv(x)))
        gate = self.excite(torch.relu(self.squeeze(inner.mean((2, 3), keepdim=True))))
        return torch.relu(x + inner * torch.sigmoid(gate))


def images(*blocks, width):
    stem = [nn.Conv2d(2, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


NETWORKS = {
    "vectors": (vector_task, Vectors),
    "basic, projection": (image_task, lambda: images(Basic(8, 8), Basic(8, 13, 2), width=13)),
    "bottleneck": (image_task, lambda: images(Bottleneck(8, 4), nn.MaxPool2d(2), Bottleneck(8, 5), width=8)),
    "bottleneck, depthwise": (image_task, lambda: images(Bottleneck(8, 6, groups=6), width=8)),
    "bottleneck, groups": (
        image_task,
        lambda: images(Bottleneck(8, 12, groups=4), Bottleneck(8, 6, groups=3), width=8),
    ),
    "gate": (image_task, lambda: images(Gated(8), nn.MaxPool2d(2), Gated(8), width=8)),
    "pre-activation": (
        image_task,
        lambda: images(PreActivation(8), PreActivation(8), nn.BatchNorm2d(8), nn.ReLU(), width=8),
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_residual_networks_of_every_kind_are_connected_and_proven(case, tmp_path):
    make_task, factory = NETWORKS[case]
    task = make_task(factory)
    a, b = trained(task, 1), trained(task, 2)
    path = certified(effort="quick").build(a, b, task)
    assert_proven(task, path, tolerance=1e-6)
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task)
    assert found.holds, found.findings
    ends = max(exact(task, end, task.train)[1] for end in (a, b))
    assert found.bound["train"] < max(1.2 * ends, 0.6)


def test_a_stage_shares_the_channels_of_its_stream():
    task = image_task(lambda: images(Basic(8, 8), Basic(8, 13, 2), width=13))
    network = read_task(task.model().state_dict(), task)
    assert sorted(space.width for space in network.spaces) == [2, 3, 8, 8, 13, 13]
    assert network.residual
    kept = [[network.spaces[space].width for space in network.cut_spaces(cut)] for cut in range(1, len(network.cuts))]
    assert kept == [[8], [8, 8], [8], [8, 13], [13]]


def test_groups_of_a_convolution_stay_together():
    task = image_task(lambda: images(Bottleneck(8, 12, groups=4), width=8))
    network = read_task(task.model().state_dict(), task)
    assert {space.name: space.width for space in network.spaces}["3.conv1.weight"] == 4
    assert network.axes["relu_1"].entries(torch.tensor([1])).tolist() == [3, 4, 5]


class Sum(nn.Module):
    """The input itself is added to what a layer makes of it."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(10, 10), nn.Linear(10, CLASSES)

    def forward(self, x):
        return self.head(torch.relu(x + self.inner(x)))


class Broadcast(Vectors):
    """A column is added to every neuron."""

    def __init__(self):
        super().__init__()
        self.column = nn.Linear(40, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head(x + self.column(x))


class Shared(Vectors):
    """Both blocks have one inner layer."""

    def __init__(self):
        super().__init__()
        self.up[1] = self.up[0]


REFUSED = {
    "input added": (Sum, "aten.add (Sum) adds the input itself"),
    "broadcast": (Broadcast, "aten.add (Broadcast) adds values of different shapes"),
    "shared": (Shared, "a second time"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sums_that_do_not_fit_are_refused_by_name(case):
    factory, words = REFUSED[case]
    task = vector_task(factory)
    ends = [task.model().state_dict() for _ in range(2)]
    with pytest.raises(InputError) as error:
        certified().build(*ends, task)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
