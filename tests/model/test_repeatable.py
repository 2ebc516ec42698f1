"""Outputs that chance or earlier passes decide are refused; what a pass keeps and no output reads is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import PLAIN
from connectivity_hooks.model.repeatable import require_repeatable
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.o(self.hidden(self.a(x).relu()))

    def hidden(self, h):
        return h


class Counting(Net):
    """Counts passes; no output depends on it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def hidden(self, h):
        self.passes += 1
        return h


class ScaledByCount(Counting):
    def hidden(self, h):
        return super().hidden(h) * self.passes


class SlowMean(Counting):
    """Moves by so little in one pass that rounding would explain it."""

    def hidden(self, h):
        return super().hidden(h) * (1 + 1e-6 * self.passes)


class CountInAnAttribute(Net):
    passes = 0

    def hidden(self, h):
        self.passes += 1
        return h * self.passes


class DropoutLeftOn(Net):
    def hidden(self, h):
        return F.dropout(h, 0.05, training=True)


class Noise(Net):
    def hidden(self, h):
        return h + 0.01 * torch.randn(h.shape)


class WritesItsInputs(Net):
    def forward(self, x):
        return super().forward(x.mul_(2))


class NotANumber(Net):
    def hidden(self, h):
        return h * torch.nan


REFUSED = {
    ScaledByCount: "every pass writes into passes",
    SlowMean: "every pass writes into passes",
    CountInAnAttribute: "reads what an earlier pass kept",
    DropoutLeftOn: "draws random numbers",
    Noise: "draws random numbers",
}


def task_of(kind):
    return Task(kind, CachedSplit("train", X, torch.arange(40) % 3), batch_size=16)


def path_of(kind):
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        ends.append({name: tensor.detach().clone() for name, tensor in kind().state_dict().items()})
    return Path.from_points(ends)


@pytest.mark.parametrize("kind", REFUSED)
def test_outputs_of_chance_or_of_earlier_passes_are_refused_in_one_line(kind):
    with pytest.raises(InputError, match=f"two passes of the model over one batch.*{REFUSED[kind]}") as refused:
        ch.evaluate(path_of(kind), task_of(kind), points=3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [Net, Counting, WritesItsInputs, NotANumber])
def test_outputs_of_weights_and_inputs_alone_pass_and_the_inputs_stay(kind):
    x = X.clone()
    require_repeatable(kind().eval(), x, PLAIN)
    assert torch.equal(x, X)


@pytest.mark.parametrize("kind", [Net, Counting, WritesItsInputs])
def test_evaluating_twice_gives_the_same_figures(kind):
    path, task = path_of(kind), task_of(kind)
    one, other = (ch.evaluate(path, task, points=5, refine=1) for _ in range(2))
    assert one.curves == other.curves


def test_the_random_state_of_the_caller_is_kept():
    model, before = Noise().eval(), torch.get_rng_state()
    with pytest.raises(InputError):
        require_repeatable(model, X, PLAIN)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [ScaledByCount, CountInAnAttribute, DropoutLeftOn, Noise])
def test_the_verifier_refuses_them_too(kind, tmp_path):
    file = tmp_path / "p.path.safetensors"
    path_of(kind).save(file)
    with pytest.raises(InputError, match="when it runs again under the same weights"):
        ch.verify(file, task_of(kind))


def test_the_verifier_takes_a_model_that_counts(tmp_path):
    file = tmp_path / "p.path.safetensors"
    path_of(Counting).save(file)
    assert ch.verify(file, task_of(Counting)).holds
