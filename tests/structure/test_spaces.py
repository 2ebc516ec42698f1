"""Exchanging the neurons of a space in every axis that is its own leaves the function as it is, and in all but one not.

The weights are exchanged here, and run through the module itself in float64: what is tested is what the spaces say.
"""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program, read_spaces
from connectivity_hooks.structure.axis_rules.table import RULES
from connectivity_hooks.structure.layouts import Neurons, Reshape
from connectivity_hooks.structure.operations.table import RECOGNISERS
from connectivity_hooks.structure.spaces import INPUTS, OUTPUTS, Axis, leading
from connectivity_hooks.structure.terms import (
    Atom,
    atoms,
    concatenation,
    product,
    split_concatenation,
    split_product,
    unify,
)


class Branches(nn.Module):
    """Two branches of unlike depth, added."""

    def __init__(self):
        super().__init__()
        self.one, self.deep, self.other = nn.Linear(6, 8), nn.Linear(6, 5), nn.Linear(5, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(1)[:, :6]
        return self.out((self.one(x) + self.other(self.deep(x).relu())).tanh())


class Residual(nn.Module):
    """A residual block with a grouped and a depthwise convolution and a gate."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.grouped, self.gate = nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.Conv2d(12, 12, 1)
        self.deep, self.back = nn.Conv2d(12, 24, 3, padding=1, groups=12), nn.Conv2d(24, 8, 1)
        self.out = nn.Linear(8 * 4, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        y = self.grouped(x).relu()
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        x = x + self.back(self.deep(y).relu())
        return self.out(F.max_pool2d(x, 2).flatten(1))


class Joined(nn.Module):
    """A concatenation, a gated linear unit by split, and a slice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 5)
        self.gated, self.out = nn.Linear(9, 14), nn.Linear(5, 3)

    def forward(self, x):
        x = x.flatten(1)[:, :6]
        x = torch.cat([self.a(x), self.b(x).relu()], 1)
        value, gate = self.gated(x).chunk(2, 1)
        return self.out((value * F.gelu(gate))[:, 1:6])


class Transformer(nn.Module):
    """Tokens of a table with positions, heads by reshape and permutation, a layer norm, a tied output."""

    def __init__(self, causal):
        super().__init__()
        self.table, self.places = nn.Embedding(7, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.norm, self.qkv, self.back = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down, self.causal = nn.Linear(8, 10), nn.Linear(10, 8), causal

    def forward(self, x):
        x = self.table(x) + self.places
        q, k, v = self.qkv(self.norm(x)).reshape(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.back(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(x)))
        return F.linear(x, self.table.weight)


class Einsum(nn.Module):
    """Two weights that meet in an einsum, and a padded and a stacked value."""

    def __init__(self):
        super().__init__()
        self.a, self.mix, self.out = nn.Linear(6, 4), nn.Parameter(torch.randn(4, 5)), nn.Linear(7, 3)

    def forward(self, x):
        x = torch.einsum("nc,cd->nd", self.a(x.flatten(1)[:, :6]), self.mix).relu()
        x = torch.stack([F.pad(x, (1, 1)), F.pad(x, (2, 0))], 1).amax(1)
        return self.out(x)


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(),
        nn.Linear(6, 5), nn.Hardswish(), nn.Linear(5, 3),
    )  # fmt: skip


def small(name):
    return lambda: timm.create_model(name, num_classes=4)


IMAGES, TOKENS = torch.randn(2, 3, 4, 4), torch.arange(10).view(2, 5) % 7
NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 4)), IMAGES),
    "chain": (chain, IMAGES),
    "branches": (Branches, IMAGES),
    "residual": (Residual, IMAGES),
    "joined": (Joined, IMAGES),
    "einsum": (Einsum, IMAGES),
    "transformer": (lambda: Transformer(False), TOKENS),
    "causal": (lambda: Transformer(True), TOKENS),
    "resnet": (small("test_resnet"), torch.randn(2, 3, 32, 32)),
    "regnet": (small("test_byobnet"), torch.randn(2, 3, 32, 32)),
    "vit": (lambda: timm.create_model("test_vit", num_classes=4, img_size=32), torch.randn(2, 3, 32, 32)),
}


def drawn(make):
    """Return a network in float64 with weights at which no neuron is like another, nor asleep."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    tensor + torch.rand_like(tensor) if "var" in name else tensor + torch.randn_like(tensor) / 5
                )
    return model


def permuted(model, spaces, numbers, without=None):
    """Return the module's weights with the neurons of some spaces exchanged, one axis of one weight left as it was."""
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    found = dict(weights)
    orders = {number: torch.arange(spaces.spaces[number].width).roll(1) for number in numbers}
    for name, layouts in spaces.weights.items():
        for axis, layout in enumerate(layouts):
            if (name, axis) != without:
                found[name] = found[name].index_select(axis, layout.indices(orders))
    return found


def outputs(model, weights, x):
    x = x.double() if x.is_floating_point() else x
    with torch.no_grad():
        return torch.func.functional_call(model, weights, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_neurons_may_be_exchanged_in_all_axes_of_their_space_and_in_no_fewer(name):
    make, x = NETWORKS[name]
    model = drawn(make)
    spaces = read_spaces(read_program(model, x))
    model = model.double()
    assert spaces.free
    expected = outputs(model, permuted(model, spaces, ()), x)
    found = outputs(model, permuted(model, spaces, spaces.free), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for number in spaces.free[:6]:
        axis = next(spaces.axes_of(number))
        less = outputs(model, permuted(model, spaces, (number,), (axis.weight, axis.number)), x)
        assert float((less - expected).abs().max()) > 1e-6, spaces.spaces[number]


@pytest.mark.parametrize("name", ["residual", "transformer"])
def test_the_values_of_a_space_move_with_its_weights(name):
    make, x = NETWORKS[name]
    model = drawn(make)
    program = read_program(model, x)
    spaces, weights = read_spaces(program), dict(model.state_dict())
    orders = {number: torch.arange(spaces.spaces[number].width).roll(1) for number in spaces.free}
    for step in program.steps:
        if step.name not in spaces.values:
            continue
        upto = type(program)(program.steps[: program.steps.index(step) + 1], program.shapes)
        before, after = upto.run(weights, x), upto.run(spaces.permuted(weights, orders), x)
        for axis, layout in enumerate(spaces.values[step.name]):
            before = before.index_select(axis, layout.indices(orders))
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_the_spaces_of_a_chain_are_its_hidden_layers():
    spaces = read_spaces(read_program(chain(), IMAGES))
    widths = {space.name: space.width for number, space in enumerate(spaces.spaces) if number in spaces.free}
    assert widths == {"0.weight": 6, "6.weight": 5}
    channels = spaces.free[0]
    assert {(axis.weight, axis.number) for axis in spaces.axes_of(channels)} == {
        ("0.weight", 0), ("1.weight", 0), ("1.bias", 0), ("1.running_mean", 0), ("1.running_var", 0), ("6.weight", 1),
    }  # fmt: skip
    pinned = {pin for space in spaces.spaces for pin in space.pins}
    assert pinned == {INPUTS, OUTPUTS}


def test_flattened_channels_are_as_wide_as_their_positions():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(24, 3))
    spaces = read_spaces(read_program(model, IMAGES))
    (channels,) = spaces.free
    columns = spaces.weights["2.weight"][1]
    assert columns == Reshape((Neurons(channels, 6), Neurons(None, 2), Neurons(None, 2)))
    assert leading(columns) == Axis(channels, 4)
    assert columns.indices({channels: torch.tensor([1, 0, 2, 3, 4, 5])})[:8].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert Axis(channels, 4).entries(torch.tensor([1])).tolist() == [4, 5, 6, 7]


def test_what_no_rule_knows_pins_what_it_touches_and_is_named():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.out(self.b(self.a(x).cumsum(1)).relu())

    spaces = read_spaces(read_program(Sorted(), torch.randn(2, 4)))
    assert [spaces.spaces[number].name for number in spaces.free] == ["b.weight"]
    (pinned,) = [space for space in spaces.spaces if space.name == "a.weight"]
    assert pinned.pins == ("aten.cumsum (Sorted)",)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("an entry by its number", lambda x: x * x[:, :1]),
        ("another order", lambda x: x + x.flip(1)),
        ("a table of numbers", lambda x: x[:, torch.tensor([0, 2, 1, 3, 4, 5])]),
        ("a constant", lambda x: x * torch.arange(6.0)),
        ("pairs of neighbours", lambda x: x + x.view(-1, 2, 3).transpose(1, 2).flatten(1)),
        ("every second entry", lambda x: x[:, ::2].repeat(1, 2) + x),
        ("neighbours", lambda x: F.avg_pool1d(x, 3, 1, 1)),
    ],
)
def test_what_tells_neurons_apart_is_not_left_free(name, function):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.down(function(self.up(x)).relu())

    model, x = drawn(Model), torch.randn(2, 4)
    spaces = read_spaces(read_program(model, x))
    model = model.double()
    expected = outputs(model, permuted(model, spaces, ()), x)
    torch.testing.assert_close(outputs(model, permuted(model, spaces, spaces.free), x), expected)
    assert all(spaces.spaces[number].width < 6 for number in spaces.free), name


def test_groups_that_do_not_line_up_leave_what_they_have_in_common():
    def grouped(one, other):
        return nn.Sequential(
            nn.Conv2d(3, 24, 1), nn.Conv2d(24, 24, 1, groups=one), nn.ReLU(), nn.Conv2d(24, 24, 1, groups=other),
            nn.Flatten(), nn.Linear(24 * 16, 3),
        )  # fmt: skip

    widths = {}
    for groups in ((4, 6), (3, 8), (4, 8)):
        program = read_program(grouped(*groups), IMAGES)
        first = leading(read_spaces(program).values[program.steps[1].name][1])
        widths[groups] = None if first is None else first.spread
    assert widths[4, 6] == 12
    assert widths[4, 8] == 6
    model = drawn(lambda: grouped(4, 6))
    spaces = read_spaces(read_program(model, IMAGES))
    model = model.double()
    expected = outputs(model, permuted(model, spaces, ()), IMAGES)
    torch.testing.assert_close(outputs(model, permuted(model, spaces, spaces.free), IMAGES), expected)


def test_every_operation_that_is_recognised_has_a_rule_for_its_axes():
    assert {f"aten.{name}" for name in RECOGNISERS} <= RULES.keys()


def test_a_rule_that_does_not_fit_pins_what_it_touches():
    class Bytes(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.down(self.up(x).view(torch.int16).view(torch.float32))

    program = read_program(Bytes(), torch.randn(2, 4))
    assert not read_spaces(program).free
    doubled = [replace(step, whole_shape=(2, 7)) if "up" in step.module else step for step in program.steps]
    assert not read_spaces(replace(program, steps=tuple(doubled))).free


def test_shapes_that_depend_on_the_data_are_refused_in_one_line():
    program = read_program(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), torch.randn(2, 4))
    unsure = tuple(replace(step, whole_shape=(-1, 6)) for step in program.steps)
    with pytest.raises(InputError, match=r"aten.linear \(0\) depends on the data") as error:
        read_spaces(replace(program, steps=unsure))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "free"),
    [
        ((4, 6), (4, 6), (4, 6)),
        ((4, 6), (8, 3), (4, 2, 3)),
        ((4, 6), (6, 4), (2,)),
        ((24,), (2, 3, 4), (2, 3, 4)),
        ((3, 8), (8, 3), ()),
    ],
)
def test_products_are_set_equal_as_far_as_they_have_common_divisors(one, other, free):
    first, second = (product(map(Atom, sizes)) for sizes in (one, other))
    unify(first, second)
    assert tuple(atom.size for atom in atoms(first) if not atom.pins and atom.size > 1) == free
    assert [atom.size for atom in atoms(second) if not atom.pins and atom.size > 1] == list(free)


def test_parts_of_a_concatenation_are_told_apart():
    whole = Atom(10)
    head, tail = split_concatenation(whole, 4)
    unify(whole, concatenation([Atom(2), Atom(5), Atom(3)]))
    assert [atom.size for atom in atoms(whole)] == [2, 2, 3, 3]
    assert [atom.size for atom in (*atoms(head), *atoms(tail))] == [2, 2, 3, 3]
    slow, fast = split_product(Atom(12, ("why",)), 3)
    assert (slow.size, fast.size, list(slow.pins)) == (3, 4, ["why"])
