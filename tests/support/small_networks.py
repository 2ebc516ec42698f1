"""Small tasks and trained ends for the certified path."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_theorem.certified.builder import Certified

N = 240
CLASSES = 3


NETWORK = """
from small_networks import mlp, vector_task

def make():
    return mlp(12)

def data():
    from torch.utils.data import DataLoader, TensorDataset
    task = vector_task(make)
    return [DataLoader(TensorDataset(split.inputs, split.targets()), 100) for split in (task.train, task.test)]
"""
# The same as a file of the command line: a model, and a function of loaders.


def mlp(*widths, activation=nn.ReLU, bias=True):
    layers = [nn.Flatten()]
    for before, after in zip((10, *widths), widths, strict=False):
        layers += [nn.Linear(before, after, bias=bias), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES, bias=bias))


def vector_task(factory):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * N, 10, generator=generator)
    y = (x @ torch.randn(10, CLASSES, generator=generator)).argmax(1)
    return Task(factory, CachedSplit("train", x[:N], y[:N]), CachedSplit("test", x[N:], y[N:]), batch_size=100)


def image_task(factory):
    """Return images whose class is the quarter that is brightest, of three."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * N, 2, 8, 8, generator=generator)
    y = torch.arange(2 * N) % CLASSES
    for label, (top, left) in enumerate(((0, 0), (0, 4), (4, 0))):
        x[y == label, :, top : top + 4, left : left + 4] += 1
    return Task(factory, CachedSplit("train", x[:N], y[:N]), CachedSplit("test", x[N:], y[N:]), batch_size=100)


def trained(task, seed, steps=150, loss=cross_entropy, rate=3e-3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = task.factory()
        optimizer = torch.optim.Adam(net.parameters(), rate)
        for _ in range(steps):
            value = loss(net(task.train.inputs), task.train.targets())
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def certified(**options):
    return Certified(make_options(Certified.Options, options, "certified"))


def exact(task, weights, split):
    """Return the outputs and the mean loss of a fresh module in float64."""
    net = task.factory().double().eval()
    net.load_state_dict({name: w.double() if w.is_floating_point() else w for name, w in weights.items()})
    with torch.no_grad():
        outputs = net(split.inputs.double())
    return outputs, float(task.loss.terms(outputs, split.targets()).mean())


def assert_proven(task, path, tolerance=1e-9):
    """Assert that constant segments are constant, convex ones move the output layer alone, no t exceeds the bound.

    Returns the bound of each split.
    """
    generator = torch.Generator().manual_seed(0)
    points = list(path.points())
    output = list(task.factory().state_dict())[-2:]
    bounds = {split.name: max(exact(task, p, split)[1] for p in points) for split in task.splits()}
    for index, guarantee in enumerate(path.guarantees):
        before, after = points[index], points[index + 1]
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        if guarantee == "convex":
            assert moved <= set(output)
        else:
            first, last = (exact(task, point, task.test)[0] for point in (before, after))
            torch.testing.assert_close(first, last, rtol=tolerance, atol=tolerance)
        left, right = path.positions[index : index + 2]
        for share in torch.rand(2, generator=generator).tolist():
            weights = path(left + share * (right - left))
            for split in task.splits():
                assert exact(task, weights, split)[1] <= bounds[split.name] * (1 + 1e-6)
    return bounds
