"""Operations under second names, turned weights, stretched and chosen entries: groups hold, and no larger ones do."""

import pytest
import torch
from symmetry_trials import by_weight, derived, larger_that_hold, titles
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import PLAIN
from connectivity_hooks.structure import checked, read_program, read_symmetries
from connectivity_hooks.structure.symmetries.checking import Trial
from connectivity_hooks.structure.symmetries.groups import O

X = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """A network whose one hidden layer of 8 neurons goes through a function of (value, another weight of 8)."""

    def __init__(self, function):
        super().__init__()
        self.up, self.other, self.down = nn.Linear(6, 8), nn.Parameter(torch.randn(8)), nn.Linear(8, 3)
        self.function = function

    def forward(self, x):
        return self.down(self.function(self.up(x), self.other))


FUNCTIONS = {
    "second names of a product": (lambda y, w: torch.multiply(torch.negative(torch.divide(y, 3.0)), w), "GL"),
    "a number broadcast and added": (lambda y, w: torch.subtract(y, w.sum().broadcast_to(8)), "O₁"),
    "a number broadcast and multiplied": (lambda y, w: y * y.exp().mean((1, 2), keepdim=True).expand(4, 5, 8), "S"),
    "products of what is stretched": (lambda y, w: y + torch.ones(8, dtype=y.dtype) * y.new_full((8,), 2.0), "O₁"),
    "zeros": (lambda y, w: y + torch.zeros(4, 5, 8, dtype=y.dtype), "GL"),
    "a length": (lambda y, w: F.normalize(y, dim=-1), "GL of length"),
    "entries chosen by number": (lambda y, w: torch.index_select(y, 1, torch.tensor([0, 2, 2])), "GL"),
    "entries repeated": (lambda y, w: y.repeat_interleave(2, 1).repeat(1, 2, 1), "GL"),
    "clipped": (lambda y, w: torch.clip(y, -1.0, 0.5), "S"),
}

ROUNDED = {
    "to integers": lambda y, w: y + (y * 0.05).long(),
    "to integers and back": lambda y, w: y + (y * 0.05).to(torch.int32).to(y.dtype),
    "to the type of integers": lambda y, w: y + (y * 0.05).type_as(torch.ones(1, dtype=torch.long)),
    "to booleans": lambda y, w: y * y.bool(),
    "to one byte": lambda y, w: y + y.to(torch.float8_e4m3fn).to(y.dtype),
    "a quotient to zero": lambda y, w: torch.div(y, 20, rounding_mode="trunc"),
    "a quotient down": lambda y, w: torch.div(y, 20, rounding_mode="floor"),
    "a quotient by a second name": lambda y, w: torch.divide(y, 20, rounding_mode="floor"),
    "a floor of a quotient": lambda y, w: y // 20,
    "a sum over neurons": lambda y, w: y + y.sum(-1, keepdim=True, dtype=torch.long),
    "entries": lambda y, w: y + torch.trunc(y) + torch.round(y) + torch.floor(y) + torch.ceil(y),
    "a scale": lambda y, w: F.layer_norm(y, (8,)) * w.long(),
    "dead": lambda y, w: y + F.threshold(y, 9.0, 0.0),
    "dead to both sides": lambda y, w: y + F.hardtanh(y - 9.0) + F.relu6(y - 9.0),
    "the larger": lambda y, w: y + torch.max(y, torch.full((8,), -9.0, dtype=y.dtype)),
    "compared": lambda y, w: torch.where(y > 9.0, 1.0, y) * (y < 9.0),
}
"""Functions of each entry, next to zero most of them zero or linear."""


@pytest.mark.parametrize("name", ROUNDED)
def test_what_is_rounded_or_cut_off_is_no_linear_map(name):
    torch.manual_seed(0)
    symmetries = read_symmetries(read_program(Written(ROUNDED[name]).eval(), X))
    moved = [s.title for s in symmetries.symmetries if any(m.weight == "up.weight" and m.axis == 0 for m in s.members)]
    assert moved in ([], ["S"])


class Places(nn.Module):
    """The places of the largest entries have part in the outputs."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)

    def forward(self, x):
        y, places = F.max_pool2d(self.up(x).relu(), 2, return_indices=True)
        return self.down((y + 0.01 * places.to(y.dtype)).mean((2, 3)))


def test_places_of_the_largest_entries_are_whole_numbers():
    _, symmetries = derived(Places, torch.randn(2, 3, 8, 8))
    assert titles(symmetries, "up.weight", 0) == ["S"]


def test_what_shrinks_next_to_zero_passes_signs_alone():
    for function in (F.softshrink, F.hardshrink, F.tanhshrink):
        _, symmetries = derived(lambda function=function: Written(lambda y, w: function(3 * y)), X)
        assert titles(symmetries, "up.weight", 0) == ["S±"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_name_of_an_operation_has_its_row(name):
    function, group = FUNCTIONS[name]
    group = "O" if group == "GL of length" else group
    model, symmetries = derived(lambda: Written(function), X)
    (hidden,) = by_weight(symmetries, "up.weight", 0)
    assert hidden.title == group
    assert not larger_that_hold(model, symmetries, hidden, X)


class Turned(nn.Module):
    """A layer norm, and maps by weights that are turned over first, as every library writes it."""

    def __init__(self, turn, added):
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.weight, self.bias = nn.Parameter(torch.randn(7, 8)), nn.Parameter(torch.zeros(7))
        self.down, self.turn, self.added = nn.Linear(7, 3), turn, added

    def forward(self, x):
        y = self.norm(self.first(x.flatten(0, 1)))
        turned = self.turn(self.weight)
        y = torch.addmm(self.bias, y, turned) if self.added else y @ turned + self.bias
        return self.down(y).unflatten(0, (-1, 5))


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize(
    "turn",
    [lambda w: w.t(), lambda w: w.mT, lambda w: w.transpose(-1, 0), lambda w: w.permute(1, -2)],
)
def test_a_product_with_a_turned_weight_is_the_map_that_it_is(turn, added):
    model, symmetries = derived(lambda: Turned(turn, added), X)
    (stream,) = by_weight(symmetries, "first.weight", 0)
    assert stream.title == "O₁"
    assert stream.scales[0].maps == ("weight",)
    (hidden,) = by_weight(symmetries, "weight", 0)
    assert hidden.title == "GL"
    assert not larger_that_hold(model, symmetries, stream, X)


class Einsum(nn.Module):
    """Attention by einsum with weights (width, heads, inside), as in XLNet."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Parameter(torch.randn(6, 3, 4) / 2) for _ in range(4))

    def forward(self, x):
        q, k, v = (torch.einsum("bih,hnd->bind", x, each) for each in (self.q, self.k, self.v))
        scores = torch.einsum("bind,bjnd->bnij", q, k).softmax(-1)
        return torch.einsum("bind,hnd->bih", torch.einsum("bnij,bjnd->bind", scores, v), self.o)


def test_what_an_einsum_sums_over_is_read():
    model, symmetries = derived(Einsum, X)
    assert set(titles(symmetries, "v", 2)) == {"GL"}
    assert set(titles(symmetries, "q", 2)) == {"O"}
    (inside,) = by_weight(symmetries, "o", 2)
    assert {member.weight: member.roles for member in inside.members} == {"v": {"writes"}, "o": {"reads"}}
    (heads,) = by_weight(symmetries, "o", 1)
    assert heads.title == "S"
    assert O not in larger_that_hold(model, symmetries, heads, X)


class Slopes(nn.Module):
    """Three heads of which two have one slope and the third another, as in Bloom; and a table without rows."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(12, 6)
        self.none, self.head = nn.Parameter(torch.zeros(0, 6)), nn.Linear(6, 2)

    def forward(self, x):
        q, k, v = (f(x).view(len(x), -1, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        slopes = torch.cat([torch.full((2,), 0.5), torch.full((1,), 0.25)]).to(x.dtype)
        scores = q @ k.mT + slopes[:, None, None] * torch.arange(x.shape[1])
        y = self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return self.head(torch.cat([y, self.none.expand(len(x), 0, 6)], 1))


def test_heads_that_are_told_apart_share_what_is_inside_them():
    _, symmetries = derived(Slopes, X)
    assert "GL" in titles(symmetries, "v.weight", 0)
    assert "O" in titles(symmetries, "q.weight", 0)


def test_a_network_whose_outputs_are_asleep_is_tried_with_other_weights():
    x = torch.rand(4, 6)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1), nn.ReLU()).eval()
    symmetries = read_symmetries(read_program(model, x))
    for seed in range(12):
        trial = Trial(symmetries, model.double(), x, PLAIN, seed)
        assert float(trial.outputs(trial.weights).std()) > 0


def test_a_network_that_does_not_run_in_float64_is_refused_in_one_line():
    class Narrow(nn.Linear):
        def forward(self, x):
            if x.dtype == torch.float64:
                raise RuntimeError("no such kernel\nhere")
            return super().forward(x)

    model = nn.Sequential(nn.Linear(6, 5), Narrow(5, 2)).eval()
    symmetries = read_symmetries(read_program(model, X))
    with pytest.raises(InputError, match="float64, in which the model does not run") as error:
        checked(symmetries, model.double(), X)
    assert "\n" not in str(error.value)
