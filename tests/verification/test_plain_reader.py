"""What a stranger finds who reads path files by their documented format, in float64: the same points and bound."""

import pytest
import torch
from plain_reader import between, read_points
from safetensors.torch import load_file
from small_networks import CLASSES, exact, image_task, trained
from torch import nn

import connectivity_hooks as ch


class Residual(nn.Module):
    """A stem, and two blocks of convolutions with batch norm, the second with a projection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.first = nn.Sequential(nn.Conv2d(8, 9, 3, padding=1), nn.BatchNorm2d(9), nn.ReLU(), nn.Conv2d(9, 8, 1))
        self.second = nn.Sequential(nn.Conv2d(8, 10, 3, stride=2), nn.ReLU(), nn.Conv2d(10, 12, 1), nn.BatchNorm2d(12))
        self.skip = nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.first(x))
        x = torch.relu(self.skip(x) + self.second(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    folder, task = tmp_path_factory.mktemp("residual"), image_task(Residual)
    files = folder / "a.safetensors", folder / "b.safetensors"
    for seed, file in enumerate(files):
        net = Residual()
        net.load_state_dict(trained(task, seed))
        ch.save(net, file)
    ch.connect(*files, task, builder="certified", options={"effort": "quick"}).save(folder / "p.path.safetensors")
    return task, folder / "p.path.safetensors", files


@pytest.fixture(params=["chain", "residual"])
def saved(request, proven):
    if request.param == "chain":
        return proven.task, proven.file, proven.checkpoints
    return request.getfixturevalue("residual")


def test_a_stranger_finds_the_ends_and_the_bound(saved):
    task, file, checkpoints = saved
    points, positions, _ = read_points(file)
    for point, checkpoint in zip((points[0], points[-1]), checkpoints, strict=True):
        stored = load_file(checkpoint)
        assert point.keys() == stored.keys()
        assert all(tensor.equal(stored[name]) for name, tensor in point.items())
    assert (positions[0], positions[-1]) == (0, 1)
    assert positions == sorted(positions)
    found = ch.verify(file, task, checkpoints=checkpoints)
    assert found.holds
    for split in task.splits():
        losses = [exact(task, point, split)[1] for point in points]
        assert found.bound[split.name] == pytest.approx(max(losses), rel=1e-4)


def test_a_stranger_finds_every_segment_as_it_is_declared(saved):
    task, file, _ = saved
    points, _, guarantees = read_points(file)
    head, generator = list(task.factory().state_dict())[-2:], torch.Generator().manual_seed(0)
    for before, after, guarantee in zip(points, points[1:], guarantees, strict=False):
        moved = {name for name in before if not before[name].equal(after[name])}
        assert guarantee in ("constant", "convex")
        assert guarantee == "constant" or moved <= set(head)
        (first, low), (last, high) = (exact(task, point, task.train) for point in (before, after))
        for share in torch.rand(20, generator=generator, dtype=torch.float64).tolist():
            outputs, loss = exact(task, between(before, after, share), task.train)
            straight = first if guarantee == "constant" else torch.lerp(first, last, share)
            torch.testing.assert_close(outputs, straight, rtol=1e-6, atol=1e-6)
            assert loss <= max(low, high) * (1 + 1e-6)
