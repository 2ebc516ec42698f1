"""Whatever the reading meets, it answers with steps that compute the same, or with one line that names the place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program, reading


class Layers(nn.Module):
    """Two linear maps with something between them that a subclass says."""

    def __init__(self, width=6):
        super().__init__()
        self.up, self.down = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.down(self.between(self.up(x)))


class MadeInForward(Layers):
    def between(self, x):
        return x * torch.tensor([0.5, 1, 2, 1, 1, 1])


class NotPersistent(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(6) + 1, persistent=False)

    def between(self, x):
        return x * self.scale


class BiasOfWeights(Layers):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(6))

    def forward(self, x):
        bias = torch.cat([self.gain[:3] * 2, self.gain[3:].flatten()])
        return self.down(F.linear(x, self.up.weight, bias))


class LinearOfABuffer(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.rand(6, 4))

    def between(self, x):
        return x + F.relu(F.linear(self.table, self.up.weight).flatten()[:6])


class SplitWeights(Layers):
    def between(self, x):
        one, other = self.up.weight.split(3)
        return x * torch.cat([one, other]).sum(1)


class NormOfConstants(Layers):
    def between(self, x):
        return F.batch_norm(x, torch.arange(6.0), torch.ones(6), self.up.bias)


class NoGrad(Layers):
    def between(self, x):
        with torch.no_grad():
            return x.relu() * torch.tensor(2.0)


class OwnRelu(Layers):
    def between(self, x):
        return F.relu(x, inplace=True) + x


class WrittenInput(Layers):
    def forward(self, x):
        x.sub_(0.5)
        return self.down(F.relu(self.up(x))) + x[:, :3]


class Counting(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def between(self, x):
        self.passes += 1
        return x.tanh()


class Sorted(Layers):
    def between(self, x):
        values, _ = x.sort(dim=1)
        return values


class Out(Layers):
    def between(self, x):
        return torch.add(x, 1, out=torch.zeros_like(x))


class OutElsewhere(Layers):
    def between(self, x):
        kept = torch.zeros_like(x)
        torch.mul(x, 3, out=kept)
        return kept.relu() + x


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.down = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.down(self.lstm(x[:, None])[0][:, -1])


class Cached(Layers):
    """Keeps what it made of its weights, as attention with a table of biases does."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def between(self, x):
        if "bias" not in self.kept:
            self.kept["bias"] = self.up.bias * 2
        return x + self.kept["bias"]


def asleep():
    """A branch that a new network has scaled by zero."""
    model = NoGrad()
    nn.init.zeros_(model.down.weight)
    return model


READ = [
    MadeInForward, NotPersistent, BiasOfWeights, LinearOfABuffer, SplitWeights, NormOfConstants, NoGrad, OwnRelu,
    WrittenInput, Counting, Sorted, Recurrent, Cached, asleep, Out, OutElsewhere,
]  # fmt: skip


@pytest.mark.parametrize("make", READ)
def test_the_steps_compute_what_the_model_computes_from_any_weights(make):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(2, 4)
    program = read_program(model, x.clone())
    fresh = make().eval()
    assert {name for step in program.steps for name in step.weights.values()} <= model.state_dict().keys()
    for buffer, other in zip(model.buffers(), fresh.buffers(), strict=True):
        other.copy_(buffer)
    with torch.no_grad():
        torch.testing.assert_close(program.run(fresh.state_dict(), x), fresh(x.clone()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", READ)
def test_steps_that_are_known_have_one_input_and_no_constants(make):
    for step in read_program(make().eval(), torch.randn(2, 4)).steps:
        if step.kind != "other":
            assert len(step.inputs) == (2 if step.kind in ("add", "product") else 1)
            assert not step.constants


def test_the_model_is_left_as_it_was():
    model = Cached().train()
    model.register_buffer("passes", torch.zeros(()))
    attributes = dict(vars(model))
    read_program(model, torch.randn(2, 4))
    assert model.kept == {}
    assert all(module.training for module in model.modules())
    assert vars(model) == attributes
    counting = Counting()
    read_program(counting, torch.randn(2, 4))
    assert counting.passes == 0


class SliceWritten(Layers):
    def between(self, x):
        x[:, 0] = 1
        return x


class Filled(Layers):
    def between(self, x):
        x[:, 1:3].fill_(0)
        return x


class CopiedInNoGrad(Layers):
    def between(self, x):
        with torch.no_grad():
            x[:, :2].copy_(x[:, 2:4])
        return x


class ReadInTwoStates(Layers):
    """A tensor that depends on nothing, read before a part of it is written and after."""

    def between(self, x):
        places = torch.zeros(x.shape[1])
        before = places + 1
        places[1:] = 2
        return x * places + before


class MovedByOne(Layers):
    """As decoders move labels: all but the first place are written, then the first."""

    def between(self, x):
        moved = x.new_zeros(x.shape)
        moved[:, 1:] = x[:, :-1].clone()
        moved[:, 0] = 2
        return moved.masked_fill_(moved > 3, 0)


class Branching(Layers):
    def between(self, x):
        return x if x.sum().item() > 0 else -x


class Drawing(Layers):
    def between(self, x):
        return x + torch.rand_like(x)


class Counted(Layers):
    """Its output depends on how often it ran."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def between(self, x):
        self.passes += 1
        return x * self.passes


class Foreign(Layers):
    def between(self, x):
        return torch.from_numpy(x.numpy() + 1)


class Several(Layers):
    def forward(self, x):
        return self.up(x), self.down(self.up(x))


class Integers(Layers):
    def forward(self, x):
        return self.down(self.up(x)).argmax(1)


class Infinite(Layers):
    def between(self, x):
        return x / 0


class Same(Layers):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Branching, r"its forward \(Branching, test_whatever_it_meets.py:\d+\): it decides by values it computes"),
        (Drawing, r"aten\.rand_like \(Drawing\) draws random numbers"),
        (Counted, r"a forward pass may not depend on earlier ones|gives other values"),
        (Foreign, r"its forward \(Foreign, test_whatever_it_meets.py:\d+\): "),
        (Several, r"Several: its structure cannot be read: the model returns a tuple; say which .* one of 0, 1"),
        (Integers, r"expected one tensor of floating-point numbers as output, found torch\.int64"),
        (Infinite, "hold NaN or Inf"),
        (Same, "returns its input"),
    ],
)
def test_what_is_not_read_is_refused_in_one_line_with_its_place(make, words):
    with pytest.raises(InputError, match=words) as error:
        read_program(make(), torch.randn(2, 4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [SliceWritten, Filled, CopiedInNoGrad, ReadInTwoStates, MovedByOne])
def test_what_writes_into_a_part_is_read_with_copies(make):
    model = make()
    x = torch.randn(2, 4)
    program = read_program(model, torch.randn(2, 4))
    with torch.no_grad():
        torch.testing.assert_close(program.run(dict(model.named_parameters()), x), model(x))
    mixing = [step.operation for step in program.steps if step.kind == "other"]
    assert mixing or make is ReadInTwoStates, "what is written into some neurons tells them from the others"


def test_a_part_that_cannot_be_read_with_copies_is_refused_with_its_place(monkeypatch):
    monkeypatch.setattr(reading, "without_writes", lambda exported: None)
    for make in (SliceWritten, ReadInTwoStates):
        with pytest.raises(InputError, match="writes in place into a part of a value that aten"):
            read_program(make(), torch.randn(2, 4))


def test_the_module_that_cannot_be_exported_is_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Branching()))
    with pytest.raises(InputError, match=r"1\.1 \(Branching, "):
        read_program(model, torch.randn(2, 4))


@pytest.mark.parametrize(
    ("name", "function", "x"),
    [
        ("pooling of neurons", lambda x: F.avg_pool1d(x, 3, 1, 1), torch.randn(2, 4)),
        ("one axis of positions pooled as two", lambda x: F.max_pool2d(x, 3, 1, 1), torch.randn(2, 4, 4)),
        ("values of unlike axes added", lambda x: x.relu() + x.sum(2), torch.randn(2, 2, 2)),
        ("values of unlike axes multiplied", lambda x: x.relu() * x.sum(2), torch.randn(2, 2, 2)),
    ],
)
def test_what_mixes_neurons_is_not_taken_for_what_keeps_them_apart(name, function, x):
    class Model(nn.Module):
        def forward(self, x):
            return function(x)

    assert [step.operation for step in read_program(Model(), x).steps if step.kind == "other"], name


def test_another_librarys_operation_of_a_known_name_is_not_known():
    with torch.library._scoped_library("connectivity_hooks_test", "DEF") as library:
        library.define("relu(Tensor x) -> Tensor")
        library.impl("relu", lambda x: x.flip(1), "CompositeExplicitAutograd")
        library.impl("relu", lambda x: torch.empty_like(x), "Meta")

        class Model(Layers):
            def between(self, x):
                return torch.ops.connectivity_hooks_test.relu(x)

        program = read_program(Model(), torch.randn(2, 4))
    assert [step.operation for step in program.steps if step.kind == "other"] == ["connectivity_hooks_test.relu"]


class ScaledByAMean(Layers):
    def between(self, x):
        return x * x.mean().item()


class ScaledByACount(Layers):
    def between(self, x):
        return x + x.long().sum().item()


class ScaledByAnAnswer(Layers):
    def between(self, x):
        return x * (x.mean() > 0).item()


class CutAtAMaximum(Layers):
    def between(self, x):
        return x.clamp(max=x.max().item())


@pytest.mark.parametrize("kind", [ScaledByAMean, ScaledByACount, ScaledByAnAnswer, CutAtAMaximum])
def test_a_number_read_from_a_tensor_is_no_tensor_of_neurons(kind):
    program = read_program(kind().eval(), torch.randn(5, 4))
    mixing = [step for step in program.steps if step.operation in ("aten.mul", "aten.add", "aten.clamp")]
    assert [step.kind for step in mixing] == ["other"]
