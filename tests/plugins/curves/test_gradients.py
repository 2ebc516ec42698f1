"""Gradients of control points against autograd through the mixed weights, for modules of every kind."""

import math

import pytest
import torch
from curve_modules import VECTORS, Coarse, Replacing, end_of, task_of
from torch.func import functional_call

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import Task
from connectivity_hooks_curves.training.module import FlatModule
from connectivity_hooks_curves.training.points import Points
from connectivity_hooks_curves.training.untrained import Untrained

KINDS = [*VECTORS, "recurrent", "returning"]


def shares(basis, t):
    """Return the shares of four control points at t, written out."""
    if basis == "bezier":
        return [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3]
    corner = math.floor(3 * t)
    return [1 - (3 * t - corner) if i == corner else 3 * t - corner if i == corner + 1 else 0.0 for i in range(4)]


def lines(a, b):
    """Return four points evenly spaced on the straight line, infinities as they are."""
    for i in range(4):
        yield {
            name: torch.where(a[name] == b[name], a[name], (1 - i / 3) * a[name] + i / 3 * b[name])
            if a[name].is_floating_point()
            else a[name]
            for name in a
        }


def by_hand(task, a, b, basis, t, decay):
    """Return the loss at φ(t) and its gradients at the two bends, by autograd through the mixed weights."""
    model = task.model().train()
    parameters = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    points = [dict(point) for point in lines(a, b)]
    for point in points:
        for name in parameters:
            point[name] = point[name].clone().requires_grad_()
    mixed = {}
    for name, first in a.items():
        if not first.is_floating_point():
            mixed[name] = first.clone()
            continue
        terms = [s * point[name] for s, point in zip(shares(basis, t), points, strict=True) if s]
        mixed[name] = sum(terms[1:], terms[0])
    for name, module_parameter in model.named_parameters(remove_duplicate=False):
        same = [n for n, p in model.named_parameters() if p is module_parameter]
        mixed[name] = mixed[same[0]]
    inputs = task.train.inputs
    arguments = ((), inputs) if isinstance(inputs, dict) else (inputs if isinstance(inputs, tuple) else (inputs,), {})
    returned = functional_call(model, mixed, *arguments)
    outputs = returned["logits"] if isinstance(returned, dict) else returned
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    targets = task.train.targets()
    loss = torch.nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    penalised = loss + decay / 2 * sum((mixed[name].double() ** 2).sum() for name in parameters)
    leaves = [point[name] for point in points[1:-1] for name in sorted(parameters)]
    found = torch.autograd.grad(penalised, leaves, allow_unused=True)
    gradients = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]
    return loss.detach(), gradients


def by_engine(task, a, b, basis, t, decay):
    """Return the same by the engine, before it takes its step."""
    flat = FlatModule(task.model())
    flat.load(a)
    flat.model.train()
    points, untrained = Points(flat, a, b, basis, 2), Untrained(flat, a, b)
    for _ in range(2):  # what a first pass does to the module must not touch the second
        points.write(t)
        untrained.write(t)
        flat.attach()
        loss = task.loss(task.forward(flat.model, task.train.inputs), task.train.targets())
        loss.backward()
        flat.check()
        untrained.look()
        points.move(t, 0.0, decay, None)
    gradients = []
    for bend in (1, 2):
        named = {}
        for group, curve in zip(flat.groups, points._curves, strict=True):
            named |= group.views(curve.points[bend].grad)
        gradients += [named[name] for name in sorted(flat.names)]
    return loss.detach(), gradients


@pytest.mark.parametrize("basis", ["bezier", "polyline"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_control_points_are_those_of_autograd(kind, basis):
    task = task_of(kind)
    a, b = (end_of(task, seed) for seed in (1, 2))
    tolerance = {"rtol": 1e-4, "atol": 1e-7} if kind == "mixed" else {"rtol": 1e-9, "atol": 1e-12}
    for t, decay in ((0.21, 0.0), (0.8, 0.3), (1 / 3, 0.0)):
        loss, gradients = by_engine(task, a, b, basis, t, decay)
        expected_loss, expected = by_hand(task, a, b, basis, t, decay)
        torch.testing.assert_close(loss, expected_loss, **tolerance, check_dtype=False)
        assert len(gradients) == len(expected)
        for found, right in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, right, **tolerance, check_dtype=False)
        assert any(float(g.abs().max()) > 1e-4 for g in gradients)


def test_control_points_of_coarse_weights_are_held_in_float32():
    task = task_of("plain", torch.float32)
    task = Task(Coarse, task.train, dtype=torch.float32)
    a, b = (end_of(task, seed) for seed in (1, 2))
    flat = FlatModule(task.model())
    points = Points(flat, a, b, "bezier", 1)
    assert {group.values.dtype for group in flat.groups} == {torch.float32, torch.bfloat16}
    assert {point.dtype for point in points._trained} == {torch.float32}
    points.write(0.3)
    expected = 0.49 * a["two.weight"].float() + 0.42 * (a["two.weight"].float() + b["two.weight"].float()) / 2
    expected += 0.09 * b["two.weight"].float()
    torch.testing.assert_close(flat.model.two.weight.detach(), expected.bfloat16(), rtol=2**-8, atol=0)
    start, middle, end = points.weights()
    assert {name: tensor.dtype for name, tensor in middle.items()} == {name: t.dtype for name, t in a.items()}
    assert start is a
    assert end is b


def test_the_norm_and_the_clipped_gradient_are_over_all_types():
    task = task_of("mixed")
    a, b = (end_of(task, seed) for seed in (1, 2))
    flat = FlatModule(task.model())
    points = Points(flat, a, b, "bezier", 1)
    flat.attach()
    for layer, size in ((flat.model.one, 3.0), (flat.model.two, 4.0)):
        layer.bias.grad = torch.zeros_like(layer.bias)
        layer.bias.grad[0] = size

    def gradients():
        views = (group.views(point.grad) for group, point in zip(flat.groups, points._trained, strict=True))
        return [float(view[f"{name}.bias"][0]) for name, view in zip(("one", "two"), views, strict=True)]

    assert float(points.move(0.5, 0.0, 0.0, 1.0)) == pytest.approx(5)
    assert gradients() == pytest.approx([0.5 * 3 / 5, 0.5 * 4 / 5])
    points.move(0.5, 0.0, 0.0, 6.0)
    assert gradients() == pytest.approx([0.5 * 3, 0.5 * 4])  # below the limit they are as they were


def test_parameters_keep_their_memory_format():
    task = task_of("channels last")
    flat = FlatModule(task.model())
    convolution = flat.model[0][1]
    assert convolution.weight.stride() == task.factory()[0][1].weight.stride()
    flat.groups[0].values.zero_()
    assert not convolution.weight.any()


def test_a_module_that_replaces_its_parameters_is_refused():
    task = task_of("plain")
    flat = FlatModule(Replacing().double())
    flat.attach()
    task.loss(flat.model(task.train.inputs), task.train.targets()).backward()
    with pytest.raises(
        InputError, match=r"Replacing\): its forward puts another parameter in the place of inner\.0\.w"
    ):
        flat.check()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["plain", "tied", "normed", "recurrent"])
def test_a_gpu_finds_the_gradients_of_the_processor(kind):
    from dataclasses import replace

    task = task_of(kind)
    device = torch.device("cuda")
    there = replace(task, train=task.train.to(device, task.dtype), device=device)
    a, b = (end_of(task, seed) for seed in (1, 2))
    _, gradients = by_engine(there, a, b, "bezier", 0.3, 0.1)
    for found, right in zip(gradients, by_hand(task, a, b, "bezier", 0.3, 0.1)[1], strict=True):
        torch.testing.assert_close(found.cpu(), right, rtol=1e-8, atol=1e-10)
