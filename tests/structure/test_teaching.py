"""A plugin teaches an operation: without it the neurons stay and it is named, with it they move, if they may."""

import copy
import pathlib
import re
import types
import warnings

import pytest
import torch
from torch import nn

from connectivity_hooks.contracts import Operation, hookimpl
from connectivity_hooks.errors import InputError
from connectivity_hooks.registry import registry
from connectivity_hooks.registry.loading import Origin, PluginFault, load
from connectivity_hooks.registry.offers import offers_of
from connectivity_hooks.registry.registry import Entry
from connectivity_hooks.structure import checked, measured, read_program, read_symmetries
from connectivity_hooks.structure.symmetries.groups import MONOMIAL, SCALED, S
from connectivity_hooks.structure.teaching import linear, pointwise
from connectivity_hooks.testing import OperationSuite

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
exec(next(block for block in BLOCKS if "mylib::squared_relu" in block), {})
PAGES = {}
exec(next(block for block in BLOCKS if "class SquaredRelu(" in block), PAGES)
ORIGIN = Origin("mine", "my-plugin", "1.0", "my_plugin")


@torch.library.custom_op("mylib::running_sum", mutates_args=())
def running_sum(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(-1)


@torch.library.custom_op("mylib::fused", mutates_args=())
def fused(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(input, weight, bias)


running_sum.register_fake(torch.empty_like)
fused.register_fake(lambda input, weight, bias: input.new_empty(*input.shape[:-1], len(weight)))


class Network(nn.Module):
    def __init__(self, operation="squared_relu"):
        super().__init__()
        self.up, self.out, self.operation = nn.Linear(5, 7), nn.Linear(7, 3), operation

    def forward(self, x):
        return self.out(getattr(torch.ops.mylib, self.operation)(self.up(x)))


class Fused(nn.Module):
    """The fused map writes the one space and reads the other."""

    def __init__(self):
        super().__init__()
        self.up, self.middle, self.out = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.ops.mylib.fused(self.up(x).relu(), self.middle.weight, self.middle.bias).relu())


X = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def teach(monkeypatch, **attributes):
    made = type("Taught", (Operation,), {"axes": lambda self, operands: pointwise(operands), **attributes})
    monkeypatch.setitem(registry().operations, made.name, Entry(made.name, made, ORIGIN))


def read(model):
    return read_symmetries(read_program(model.eval(), X))


def tried(model, judge=checked):
    torch.manual_seed(0)
    return judge(read(model), copy.deepcopy(model).double(), X)


def test_without_it_the_neurons_stay_and_the_operation_is_named():
    symmetries = read(Network())
    assert symmetries.symmetries == ()
    space = symmetries.spaces.weights["up.weight"][0].space
    assert any("mylib.squared_relu" in pin for pin in symmetries.spaces.spaces[space].pins)


class TestTheOperationOfThePage(OperationSuite):
    operation = PAGES["SquaredRelu"]

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch):
        monkeypatch.setitem(
            registry().operations, self.operation.name, Entry(self.operation.name, self.operation, ORIGIN)
        )

    def make_model(self):
        return Network()

    def make_inputs(self):
        return X

    def test_its_neurons_are_permuted(self):
        (symmetry,) = read(Network()).symmetries
        assert (symmetry.name, symmetry.group, symmetry.width) == ("up.weight", S, 7)


def test_a_group_that_is_too_large_is_made_smaller_and_named(monkeypatch):
    teach(monkeypatch, name="mylib.squared_relu", leaves=lambda self, use: SCALED)
    (symmetry,) = read(Network()).symmetries
    assert symmetry.group == SCALED
    for judge in (checked, measured):
        found = tried(Network(), judge)
        assert found.symmetries.symmetries[0].group == S
        assert "up.weight: Mon₊ was derived" in found.refuted[0]
        assert found.deviation < 1e-12


def test_neurons_that_may_not_move_at_all_are_left_out(monkeypatch):
    teach(monkeypatch, name="mylib.running_sum")
    assert read(Network("running_sum")).symmetries
    for judge in (checked, measured):
        found = tried(Network("running_sum"), judge)
        assert found.symmetries.symmetries == ()
        assert found.refuted == ("up.weight: S was derived, nothing holds",)


def test_without_a_derivative_elements_decide_and_it_is_said(monkeypatch):
    teach(
        monkeypatch, name="mylib.fused", axes=lambda self, operands: linear(operands), leaves=lambda self, use: MONOMIAL
    )
    found = tried(Fused(), measured)
    assert "no derivative of the outputs can be taken" in found.note


def test_weights_of_a_taught_map_have_the_roles_it_says(monkeypatch):
    def role(self, use, argument, operand, axis):
        return "reads" if (argument, axis) == ("weight", 1) else "writes"

    teach(
        monkeypatch, name="mylib.fused", axes=lambda self, operands: linear(operands),
        leaves=lambda self, use: MONOMIAL, role=role,
    )  # fmt: skip
    found = tried(Fused())
    assert [each.group for each in found.symmetries.symmetries] == [SCALED, SCALED]
    assert found.refuted == ()
    assert found.deviation < 1e-12


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"axes": lambda self, operands: operands.nothing}, "axes fails: AttributeError"),
        ({"axes": lambda self, operands: 3}, "axes returns 3, expected a tuple of axes"),
        ({"leaves": lambda self, use: "S"}, "leaves returns 'S', expected a Group"),
    ],
)
def test_a_rule_that_fails_is_one_line_with_operation_and_plugin(monkeypatch, attributes, words):
    teach(monkeypatch, name="mylib.squared_relu", **attributes)
    with pytest.raises(InputError, match=f"operation mylib.squared_relu, taught by mine .*: {words}"):
        read(Network())


def test_a_value_of_another_shape_than_taught_stays(monkeypatch):
    teach(monkeypatch, name="mylib.squared_relu", axes=lambda self, operands: operands.axes("x")[:1])
    assert read(Network()).symmetries == ()


@pytest.mark.parametrize("name", ["squared_relu", "my lib.op", 3, "mylib.op.default"])
def test_a_name_that_no_operation_has_sets_the_plugin_aside(name):
    @hookimpl
    def register_operations():
        return [type("Taught", (Operation,), {"name": name, "axes": lambda self, operands: ()})]

    manager, plugin = load([]).manager, types.ModuleType("mine")
    plugin.register_operations = register_operations
    manager.register(plugin, "mine")
    with pytest.raises(PluginFault, match=r"register_operations: Taught\.name"):
        offers_of(manager, "mine")


def test_an_operation_that_has_rows_is_said_once_and_changes_nothing(monkeypatch):
    teach(monkeypatch, name="aten.relu", leaves=lambda self, use: MONOMIAL)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    with pytest.warns(UserWarning, match=r"aten\.relu, taught by mine .* has built-in rows"):
        assert read(network).symmetries[0].group == SCALED
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*built-in rows")
        read(network)
