"""The neurons of a space taken out of values, compared with values that are written out."""

import pytest
import torch
from torch import nn

from connectivity_hooks.structure import held, input_values, read_program, read_symmetries, run_step


class Heads(nn.Module):
    """Two heads of three, flattened with them for the output, and channels flattened with their pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.value, self.out = nn.Conv2d(1, 4, 1), nn.Linear(16, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.relu(self.stem(x)).flatten(1)
        v = self.value(x).view(len(x), 2, 3)
        weights = torch.softmax(v @ v.transpose(1, 2), -1)
        return self.out((weights @ v).flatten(1))


class Rows(nn.Module):
    """Tokens and samples along one axis in front of the neurons."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.relu(self.inner(x.flatten(0, 1)))).view(len(x), -1, 2).mean(1)


def read(model, x):
    """Return the symmetries of a module, and its values."""
    program = read_program(model, x)
    weights, values = model.state_dict(), input_values(x)
    for step in program.steps:
        values[step.name] = run_step(step, weights, values)
    return read_symmetries(program), program, values


def value_into(program, module):
    return next(step.inputs[0] for step in program.steps if step.module == module)


def test_channels_that_were_flattened_with_pixels_are_rows_of_pixels():
    torch.manual_seed(0)
    model, x = Heads(), torch.randn(2, 1, 2, 2)
    symmetries, program, values = read(model, x)
    channels = next(each for each in symmetries.symmetries if each.width == 4)
    name = value_into(program, "value")
    rows = held(symmetries.spaces, name, channels).rows(values[name])
    expected = torch.relu(model.stem(x)).movedim(1, -1).reshape(8, 4)
    assert torch.equal(rows, expected[None])


def test_values_of_more_samples_than_were_traced_are_taken_apart_likewise():
    torch.manual_seed(0)
    model = Rows()
    symmetries, program, _ = read(model, torch.randn(2, 3, 5))
    (hidden,) = symmetries.symmetries
    where = held(symmetries.spaces, value_into(program, "out"), hidden)
    values = torch.randn(21, 4)
    assert torch.equal(where.rows(values), values[None])


def test_a_value_of_another_width_is_refused():
    model = Rows()
    symmetries, program, _ = read(model, torch.randn(2, 3, 5))
    where = held(symmetries.spaces, value_into(program, "out"), symmetries.symmetries[0])
    with pytest.raises(ValueError, match="an axis of 8 entries, expected 4"):
        where.rows(torch.randn(6, 8))


def test_a_value_without_the_neurons_holds_none():
    symmetries, _, _ = read(Rows(), torch.randn(2, 3, 5))
    assert held(symmetries.spaces, "input", symmetries.symmetries[0]) is None


def test_heads_are_copies_whether_they_have_an_axis_of_their_own_or_not():
    torch.manual_seed(0)
    model, x = Heads(), torch.randn(2, 1, 2, 2)
    symmetries, program, values = read(model, x)
    inside = next(each for each in symmetries.symmetries if (each.copies, each.width) == (2, 3))
    flat = values[value_into(program, "out")]
    expected = flat.view(2, 2, 3).transpose(0, 1)
    own = next(step.name for step in program.steps if step.operation == "aten.matmul" and step.whole_shape == (2, 2, 3))
    assert torch.equal(held(symmetries.spaces, value_into(program, "out"), inside).rows(flat), expected)
    assert torch.equal(held(symmetries.spaces, own, inside).rows(values[own]), expected)
