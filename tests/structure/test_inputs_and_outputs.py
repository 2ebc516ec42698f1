"""Models with several inputs, and with outputs that are picked from what they return, are read like any other."""

import dataclasses
from typing import NamedTuple

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.running import Forward
from connectivity_hooks.structure import read_program, read_spaces, task_program
from connectivity_hooks.structure.task_program import first_inputs
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.verification.reach import changed_outputs
from connectivity_hooks_theorem.certified.network.reading import read_network


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, left, right=None, double=False, more=None):
        x = self.a(left).relu()
        if right is not None:
            x = x + self.b(right).relu()
        if more is not None:
            x = x * more["gates"][0]
        return self.out(2 * x if double else x)


LEFT, RIGHT, GATES = torch.randn(3, 4), torch.randn(3, 3), torch.rand(3, 6)
GIVEN = [
    ({"input": (4,)}, LEFT),
    ({"input.left": (4,)}, {"left": LEFT, "double": True}),
    ({"input.0": (4,)}, (LEFT,)),
    ({"input.0": (4,), "input.1": (3,)}, (LEFT, RIGHT)),
    ({"input.0": (4,), "input.1": (3,)}, (LEFT, RIGHT, True)),
    ({"input.right": (3,), "input.left": (4,)}, {"right": RIGHT, "left": LEFT}),
    (
        {"input.left": (4,), "input.right": (3,), "input.more.gates.0": (6,)},
        {"left": LEFT, "right": RIGHT, "more": {"gates": [GATES, None]}},
    ),
]


def other_rows(inputs):
    """Return other inputs of the same form, more of them."""
    if isinstance(inputs, torch.Tensor):
        return torch.randn(5, *inputs.shape[1:])
    if isinstance(inputs, dict):
        return {name: other_rows(value) for name, value in inputs.items()}
    return type(inputs)(map(other_rows, inputs)) if isinstance(inputs, (tuple, list)) else inputs


@pytest.mark.parametrize(("shapes", "inputs"), GIVEN)
def test_the_inputs_have_names_and_the_steps_run_on_others(shapes, inputs):
    torch.manual_seed(0)
    model = Two().eval()
    program = read_program(model, inputs)
    assert program.shapes == shapes
    fresh = other_rows(inputs)
    expected = model(**fresh) if isinstance(fresh, dict) else model(*(fresh if isinstance(fresh, tuple) else (fresh,)))
    torch.testing.assert_close(program.run(model.state_dict(), fresh), expected)


def test_one_tensor_given_twice_is_two_inputs():
    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Linear(4, 3)

        def forward(self, one, other):
            return self.down(one - 2 * other)

    model, other = Difference().eval(), torch.randn(3, 4)
    program = read_program(model, (LEFT, LEFT))
    torch.testing.assert_close(program.run(model.state_dict(), (LEFT, other)), model(LEFT, other))


@dataclasses.dataclass
class Result:
    score: torch.Tensor
    count: int
    logits: torch.Tensor


class Named(NamedTuple):
    score: torch.Tensor
    hidden: torch.Tensor


class Returning(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.up, self.make = nn.Linear(4, 3), make

    def forward(self, x):
        return self.make(x.sum(1, keepdim=True), self.up(x))


@pytest.mark.parametrize(
    ("make", "pick"),
    [
        (lambda score, logits: {"score": score, "logits": logits}, None),
        (lambda score, logits: {"score": score, "other": logits}, "other"),
        (lambda score, logits: (score, logits), 1),
        (lambda score, logits: [score, logits, None], "1"),
        (lambda score, logits: (score.argmax(1), logits), None),
        (lambda score, logits: Result(score, 3, logits), None),
        (lambda score, logits: Named(score, logits), "hidden"),
    ],
)
def test_the_outputs_are_picked_from_what_the_model_returns(make, pick):
    model = Returning(make).eval()
    program = read_program(model, LEFT, Forward(pick))
    assert [step.operation for step in program.steps] == ["aten.linear"]
    torch.testing.assert_close(program.run(model.state_dict(), LEFT), model.up(LEFT))


def test_an_output_that_is_not_there_is_refused_with_the_choices():
    model = Returning(lambda score, logits: Result(score, 3, logits))
    with pytest.raises(
        InputError, match=r"Returning: its structure .* no entry 'loss' .* one of score, logits"
    ) as error:
        read_program(model, LEFT, Forward("loss"))
    assert "\n" not in str(error.value)


def test_spaces_are_read_with_several_inputs():
    spaces = read_spaces(read_program(Two(), (LEFT, RIGHT)))
    (hidden,) = spaces.free
    axes = {(axis.weight, axis.number) for axis in spaces.axes_of(hidden)}
    assert axes == {("a.weight", 0), ("a.bias", 0), ("b.weight", 0), ("b.bias", 0), ("out.weight", 1)}


def test_the_certified_builder_refuses_two_inputs_by_name():
    program = read_program(Two(), {"left": LEFT, "right": RIGHT})
    with pytest.raises(
        InputError, match=r"builder certified: the network reads 2 inputs \(left, right\), expected one; "
    ):
        read_network(program)
    with pytest.raises(InputError, match=r"builder certified: inputs are named \(left\), expected one tensor; "):
        read_network(read_program(Two(), {"left": LEFT}))


def test_a_task_of_one_sample_is_read_as_two_of_it():
    task = Task(lambda: nn.Linear(4, 3), CachedSplit("train", LEFT[:1], torch.zeros(1, dtype=torch.long)))
    assert torch.equal(first_inputs(task), LEFT[:1].expand(2, 4))
    assert task_program(task).shapes == {"input": (4,)}
    assert task_program(task) is task_program(task)


class OfOneNumber(nn.Module):
    """Reads one number a sample, which has no axis of entries."""

    def __init__(self):
        super().__init__()
        self.up, self.out = nn.Linear(1, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.up(x[:, None]).relu())


@pytest.mark.parametrize(
    ("make", "inputs", "name"), [(Two, (LEFT, RIGHT), "b.weight"), (OfOneNumber, LEFT[:, 0], "up.bias")]
)
def test_the_verifier_follows_changes_whatever_the_inputs(make, inputs, name):
    model = make().eval()
    before = dict(model.state_dict())
    program = read_program(model, inputs)
    assert changed_outputs(program, before, {**before, name: before[name] + 1}) == (True, [name])
    unread = {**before, "out.weight": torch.zeros_like(before["out.weight"])}
    assert changed_outputs(program, unread, {**unread, name: before[name] + 1}) == (False, [])
