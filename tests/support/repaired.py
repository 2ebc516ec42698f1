"""Weights corrected by REPAIR, and what layers put out under them, by PyTorch alone."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.evaluation import ModelOnPath
from connectivity_hooks.evaluation.sampling import corrected_sample, sampled
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_corrections.repair import Repair


def ends_of(make, count=2):
    """Return weights in float64, of as many seeds."""
    found = []
    for seed in range(1, count + 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append({name: w.double() if w.is_floating_point() else w for name, w in make().state_dict().items()})
    return found


def task_of(make, inputs, batch_size=1000, dtype=torch.float64):
    targets = torch.arange(len(inputs)) % 3
    return Task(make, CachedSplit("train", inputs, targets), dtype=dtype, batch_size=batch_size)


def inputs_of(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def corrected(make, inputs, t=0.5, points=None, batch_size=1000):
    """Return (what was prepared, the corrected weights at t, the ends)."""
    points = points or ends_of(make)
    task, path = task_of(make, inputs, batch_size), Path.from_points(points)
    prepared = Repair().prepare(ModelOnPath(path, task))
    return prepared, corrected_sample(path, t, task, Repair()), points


def channels(make, weights, inputs):
    """Return what each linear map and convolution puts out under some weights, (C, R) by name."""
    model, found = make().double().eval(), {}
    model.load_state_dict(weights)

    def hear(name, last):
        def hook(module, given, outputs):
            if isinstance(outputs, torch.Tensor):
                found[name] = outputs.detach().movedim(last, 0).flatten(1)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Bilinear)):
            module.register_forward_hook(hear(name, -1))
        elif isinstance(module, nn.modules.conv._ConvNd):
            module.register_forward_hook(hear(name, 1))
    with torch.no_grad():
        model(inputs)
    return found


def require_between(make, inputs, names, t=0.5, *, left=(), points=None, rtol=1e-9):
    """Require that the layers named, and no others but those left, have means and deviations between the ends'."""
    prepared, weights, (a, b) = corrected(make, inputs, t, points)
    assert sorted(prepared.left) == sorted(left)
    one, other, here = (channels(make, each, inputs) for each in (a, b, weights))
    assert sorted(layer.name for layer in prepared._layers) == sorted(names)
    for name in names:
        for statistic in (torch.mean, torch.std):
            expected = torch.lerp(statistic(one[name], 1), statistic(other[name], 1), t)
            torch.testing.assert_close(statistic(here[name], 1), expected, rtol=rtol, atol=rtol)
    return prepared, weights, (a, b)


def mlp(*widths):
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def closed_form(a, b, x, t):
    """Return the corrected weights of a network of two layers, from the definition alone."""
    weight, bias = (torch.lerp(a[f"0.{part}"], b[f"0.{part}"], t) for part in ("weight", "bias"))
    one, other, own = (
        x @ w.T + c for w, c in ((a["0.weight"], a["0.bias"]), (b["0.weight"], b["0.bias"]), (weight, bias))
    )
    std = (1 - t) * one.std(0, correction=0) + t * other.std(0, correction=0)
    mean = (1 - t) * one.mean(0) + t * other.mean(0)
    factor = std / own.std(0, correction=0)
    return weight * factor[:, None], (bias - own.mean(0)) * factor + mean


class Net(nn.Module):
    """Layers one after the other, each followed by ReLU, the mean over positions, and an output layer."""

    def __init__(self, *layers, width):
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x.flatten(2).mean(2))


def require_own(weights, points, names, t=0.5):
    """Require that weights are the path's own."""
    own = sampled(Path.from_points(points), t)
    assert all(same(weights[name], own[name]) for name in names)
