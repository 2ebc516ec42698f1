"""Dropout stability, against a float64 network with its neurons dropped by hand."""

import pytest
import torch
from scipy.optimize import minimize_scalar
from small_networks import mlp, trained, vector_task
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

import connectivity_hooks as ch
from connectivity_hooks.checking import observe
from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.tasks import LOSSES
from connectivity_hooks_theorem.conditions.dropout_stability import DropoutStability
from connectivity_hooks_theorem.conditions.masking import masked
from connectivity_hooks_theorem.conditions.scaling import best_scale, mean_losses


@pytest.fixture(scope="module")
def setting():
    task = vector_task(lambda: mlp(20, 21, 22))
    model = task.model()
    model.load_state_dict(trained(task, 1, steps=60))
    return task, model


def check(task, model, **options):
    method = DropoutStability(make_options(DropoutStability.Options, options, "dropout-stability"))
    return {verdict.layer: verdict for verdict in method.check(observe(model, task))}


def own_loss(task, model):
    with torch.no_grad():
        return float(cross_entropy(model(task.train.inputs).double(), task.train.targets()))


def test_with_everything_kept_the_loss_is_the_networks_own(setting):
    task, model = setting
    verdicts = check(task, model, fraction=1.0, rescale=False)
    assert all(verdict.measured == pytest.approx(0, abs=1e-6) for verdict in verdicts.values())
    assert all(
        verdict.details["loss"] == pytest.approx(own_loss(task, model), rel=1e-6) for verdict in verdicts.values()
    )
    rescaled = check(task, model, fraction=1.0)
    assert all(verdict.measured <= 1e-6 for verdict in rescaled.values())


def test_dropping_agrees_with_weights_zeroed_by_hand(setting):
    task, model = setting
    found = check(task, model, draws=1, rescale=False)
    masks = []
    generator = torch.Generator().manual_seed(0)
    for first in range(3):
        drawn = []
        for width in (20, 21, 22)[first:]:
            order = torch.rand(1, width, generator=generator).argsort(1)
            drawn.append(torch.zeros(width).index_fill_(0, order[0, : width // 2], 1.0))
        masks.append(drawn)
    for first, layer in enumerate(found):
        twin = mlp(20, 21, 22).double()
        twin.load_state_dict({name: tensor.double() for name, tensor in model.state_dict().items()})
        for index, mask in enumerate(masks[first], start=first):
            twin[2 * index + 3].weight.data *= mask.double()
        with torch.no_grad():
            loss = float(cross_entropy(twin(task.train.inputs.double()), task.train.targets()))
        assert found[layer].details["loss"] == pytest.approx(loss, rel=1e-5)


def test_several_draws_at_once_are_each_what_they_are_alone(setting):
    task, model = setting
    masks = {"2": (torch.rand(4, 20, generator=torch.Generator().manual_seed(3)) < 0.5).float()}
    inputs = task.train.inputs[:30]
    with torch.no_grad():
        with masked(model, masks):
            together = model(inputs.repeat(4, 1)).view(4, 30, -1)
        for draw in range(4):
            with masked(model, {"2": masks["2"][draw : draw + 1]}):
                torch.testing.assert_close(model(inputs), together[draw])


def test_channels_are_the_neurons_of_feature_maps():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    inputs = torch.randn(5, 1, 6, 6)
    twin = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    twin.load_state_dict(model.state_dict())
    twin[0].weight.data[1], twin[0].bias.data[1] = 0, 0
    with torch.no_grad(), masked(model, {"2:input": torch.tensor([[1.0, 0.0, 1.0, 1.0]])}):
        torch.testing.assert_close(model(inputs), twin(inputs))


def test_hooks_are_gone_afterwards(setting):
    task, model = setting
    check(task, model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_best_scale_is_that_of_scipy():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4, (300,), generator=generator)
    outputs = torch.stack(
        [nn.functional.one_hot(targets, 4) * a + torch.randn(300, 4, generator=generator) for a in (0.5, 1.5, 2.5)]
    )
    scale, loss = best_scale(outputs, targets, LOSSES["cross-entropy"])
    for draw, each in enumerate(outputs):
        best = minimize_scalar(
            lambda power, each=each: float(cross_entropy(each.double() * 2**power, targets)), bounds=(-10, 10)
        )
        assert float(loss[draw]) == pytest.approx(best.fun, rel=1e-5)
        assert float(scale[draw]) == pytest.approx(2**best.x, rel=1e-2)
        assert float(loss[draw]) <= float(mean_losses(outputs, targets, LOSSES["cross-entropy"])[draw])


SHAPES = {
    "no classes": ((), "bce"),
    "one map": ((1, 3, 2), "bce"),
    "as many draws as classes": ((4, 3, 2), "cross-entropy"),
    "other classes": ((5, 3, 2), "cross-entropy"),
    "classes alone": ((4,), "cross-entropy"),
    "figures": ((4,), "mse"),
    "one figure": ((), "mse"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_the_best_scale_is_that_of_a_search_in_float64_for_outputs_of_any_shape(case):
    rest, name = SHAPES[case]
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(4, 60, *rest, generator=generator) * torch.tensor([0.3, 1, 2, 5]).view(
        4, *[1] * (1 + len(rest))
    )
    classes = name == "cross-entropy"
    if classes:
        targets = torch.randint(0, rest[0], (60, *rest[1:]), generator=generator)
        outputs[:, torch.arange(60)] += nn.functional.one_hot(targets, rest[0]).movedim(-1, 1)
    else:
        targets = (outputs.mean(0) + 0.3 * torch.randn(60, *rest, generator=generator) > 0).float()
    function = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy_with_logits, "mse": mse_loss}[name]
    scale, loss = best_scale(outputs, targets, LOSSES[name])
    assert scale.shape == loss.shape == (4,)
    for draw, each in enumerate(outputs.double()):
        wide = targets if classes else targets.double()
        best = minimize_scalar(
            lambda power, each=each, wide=wide: float(function(each * 2**power, wide)),
            bounds=(-10, 10),
            options={"xatol": 1e-7},
        )
        assert float(loss[draw]) == pytest.approx(best.fun, rel=1e-5)
        assert float(scale[draw]) == pytest.approx(2**best.x, rel=2e-2)


def test_later_layers_are_dropped_from_too(setting):
    task, model = setting
    found = ch.check(model, task, "dropout-stability", layers=["2", "4", "6"], options={"draws": 20, "epsilon": 0})
    losses = [verdict.details["loss"] for verdict in found]
    assert losses[0] > losses[-1]
    assert [verdict.details["kept"] for verdict in found] == [10, 10, 11]
