"""Networks with larger and smaller weights: what is flat next to zero is seen, and what holds is not refuted."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.model import PLAIN
from connectivity_hooks.structure import checked, measured, read_program, read_symmetries, transformed
from connectivity_hooks.structure.symmetries.checking import TOLERANCE, Trial
from connectivity_hooks.structure.symmetries.drawing import random_element
from connectivity_hooks.structure.symmetries.groups import GL
from connectivity_hooks.structure.symmetries.rescaling import FAR, rescaled, with_signs

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """Two linear maps, and a function that is nearly a linear map next to zero, deep behind others."""

    def __init__(self, function, normed):
        super().__init__()
        self.stem, self.norm, self.up, self.down = nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 8), nn.Linear(8, 3)
        self.function, self.normed = function, normed

    def forward(self, x):
        y = self.stem(x)
        y = self.up(self.norm(y) if self.normed else y.tanh())
        return self.down(self.function(y))


FLAT = {
    "rounded to zero": lambda y: y + (y * 0.05).trunc(),
    "as integers": lambda y: y + (y * 0.05).long(),
    "cut off": lambda y: y.clamp(-20.0, 20.0),
    "dead": lambda y: y + F.relu(y - 20.0),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("name", FLAT)
def test_what_is_linear_next_to_zero_alone_is_not_taken_for_linear(name, normed, seed):
    torch.manual_seed(seed)
    model = Between(FLAT[name], normed).eval()
    symmetries = read_symmetries(read_program(model, X))
    wrong = tuple(
        replace(each, group=GL) for each in symmetries.symmetries if any(m.weight == "up.weight" for m in each.members)
    )
    hidden = next(each for each in wrong if any(m.weight == "down.weight" for m in each.members))
    wrong = replace(symmetries, symmetries=(hidden,))
    model = model.double()
    assert Trial(wrong, model, X, PLAIN, seed).deviation([hidden]) <= TOLERANCE  # next to zero nothing is seen
    for found in (checked(wrong, model, X, seed=seed), measured(wrong, model, X.double(), seed=seed)):
        (kept,) = found.symmetries.symmetries
        assert kept.title in ("S", "S±")


class Stream(nn.Module):
    """A stream with norms whose γ and β are folded, β into biases and not, and one whose γ is stored as γ − 1."""

    def __init__(self):
        super().__init__()
        self.first, self.gamma = nn.Linear(6, 8), nn.Parameter(torch.zeros(8))
        self.one, self.other = nn.LayerNorm(8), nn.LayerNorm(8)
        self.up, self.back, self.last = nn.Linear(8, 5), nn.Linear(5, 8), nn.Linear(8, 3)
        self.gate, self.beside = nn.Linear(8, 5, bias=False), nn.Linear(8, 5)

    def forward(self, x):
        y = self.first(x)
        z = self.one(y)
        y = y + self.back(self.up(z) * self.gate(z).sigmoid())
        y = y + self.back(self.beside(F.layer_norm(y, (8,)) * (1 + self.gamma)))
        return self.last(self.other(y))


@pytest.mark.parametrize("seed", range(3))
def test_elements_before_and_after_rescaling_are_the_same(seed):
    torch.manual_seed(seed)
    model = Stream().eval()
    symmetries = read_symmetries(read_program(model, X))
    assert any(each.scales for each in symmetries.symmetries)
    trial = Trial(symmetries, model.double(), X, PLAIN, seed)
    generator = torch.Generator().manual_seed(seed)
    factors = with_signs(symmetries, trial.weights, dict.fromkeys(trial.weights, FAR), generator)
    elements = {each.space: random_element(each, generator) for each in symmetries.symmetries}
    before = transformed(symmetries, rescaled(trial.weights, factors), elements)
    after = rescaled(transformed(symmetries, trial.weights, elements), factors)
    for name, tensor in before.items():
        assert torch.allclose(tensor, after[name], rtol=1e-12, atol=1e-12 * float(tensor.abs().max())), name
    deviations = list(trial.deviations(symmetries.symmetries))
    assert len(deviations) == 4
    assert max(deviations) < 1e-10


def test_a_network_that_refuses_other_numbers_is_tried_on_those_it_takes():
    class Bounded(nn.Linear):
        def forward(self, x):
            if torch.compiler.is_exporting() or bool((x.abs() < 30).all()):
                return super().forward(x)
            raise ValueError("values are expected below 30")

    model = nn.Sequential(Bounded(6, 7), nn.Linear(7, 3)).eval()
    found = checked(read_symmetries(read_program(model, X)), model.double(), X)
    assert [each.title for each in found.symmetries.symmetries] == ["GL"]


class Steep(nn.Module):
    """Next to zero as steady as any network; on larger numbers rounding is all that is left."""

    def __init__(self):
        super().__init__()
        self.first, self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.down(torch.sin(self.up(self.first(x)) ** 3))


def test_where_rounding_is_all_that_is_left_nothing_is_refuted():
    torch.manual_seed(0)
    model = Steep().eval()
    symmetries = read_symmetries(read_program(model, X))
    found = checked(symmetries, model.double(), X)
    assert not found.refuted
    assert "GL" in [each.title for each in found.symmetries.symmetries]
    assert len(list(Trial(symmetries, model, X, PLAIN, 0).deviations(symmetries.symmetries))) < 4
