"""A model's steps, read from its export graph, compute what the model computes; under other weights and widths too."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4)
        self.drop, self.fc1, self.fc2 = nn.Dropout(), nn.Linear(16, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu_(self.norm(self.conv(x))), 2)
        return self.fc2(F.gelu(self.fc1(self.drop(x.view(x.size(0), -1)))))


def named(model):
    return dict(model.named_parameters()) | dict(model.named_buffers())


def test_the_steps_of_a_chain_are_named_by_what_they_do():
    program = read_program(Functional(), torch.randn(2, 1, 8, 8))
    kinds = [step.kind for step in program.steps]
    expected = ["affine", "norm", "activation", "pool", "flatten", "identity", "affine", "activation", "affine"]
    assert [kind for kind in kinds if kind != "identity"] == [kind for kind in expected if kind != "identity"]
    assert program.steps[0].weights == {"weight": "conv.weight"}
    assert [step.dense for step in program.steps if step.kind == "affine"] == [False, True, True]
    assert program.steps[1].weights["mean"] == "norm.running_mean"


def test_the_steps_run_with_any_batch_and_leave_the_module_as_it_was():
    model = Functional().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    program = read_program(model, torch.randn(2, 1, 8, 8))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.run(named(model), x), model.eval()(x))


def test_the_steps_run_with_narrower_weights():
    program = read_program(Functional(), torch.randn(2, 1, 8, 8))
    narrow = Functional()
    narrow.conv, narrow.norm = nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2)
    narrow.fc1, narrow.fc2 = nn.Linear(8, 5), nn.Linear(5, 3)
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.run(named(narrow), x), narrow.eval()(x))


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "regnetx_002"])
def test_timm_models_are_read_without_an_unknown_step(name):
    model = timm.create_model(name, num_classes=10).double().eval()
    program = read_program(model, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert not [step.operation for step in program.steps if step.kind == "other"]
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(program.run(named(model), x), model(x), rtol=1e-9, atol=1e-9)


def test_what_acts_across_neurons_is_other():
    program = read_program(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), torch.randn(2, 4))
    assert [step.operation for step in program.steps if step.kind == "other"] == ["aten.layer_norm"]


def test_attention_is_read_and_runs_whatever_the_strides():
    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.down = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(32, 3)

        def forward(self, x):
            return self.down(self.attention(x, x, x)[0].flatten(1))

    model, x = Attentive().eval(), torch.randn(2, 4, 8)
    program = read_program(model, x)
    torch.testing.assert_close(program.run(named(model), x), model(x))
    assert {step.module for step in program.steps if step.kind == "other"} == {"attention"}


def test_a_model_that_cannot_be_traced_is_refused_in_one_line():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(InputError, match="Branching: its structure cannot be read") as error:
        read_program(Branching(), torch.randn(2, 4))
    assert "\n" not in str(error.value)
