"""The groups of spaces, tried on the module itself in float64: what is said to keep the function does, and no more."""

from dataclasses import replace

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.model import PLAIN
from connectivity_hooks.structure import (
    Element,
    checked,
    combined,
    folded,
    moved,
    read_program,
    read_symmetries,
    transformed,
    unfoldable,
    unfolded,
)
from connectivity_hooks.structure.symmetries.checking import TOLERANCE, Trial
from connectivity_hooks.structure.symmetries.drawing import random_element
from connectivity_hooks.structure.symmetries.folding import FLOOR, with_floor
from connectivity_hooks.structure.symmetries.groups import (
    GL,
    MONOMIAL,
    NOTHING,
    O1,
    SCALED,
    SIGNED,
    O,
    S,
    largest,
    meet,
    name_of,
    named,
)

IMAGES, ROWS = torch.randn(3, 3, 8, 8), torch.randn(5, 6)


class RootMeanSquare(nn.Module):
    """A stream that two branches write to, read through RMS norms; no bias anywhere."""

    def __init__(self, tied=False):
        super().__init__()
        self.enter, self.out = nn.Linear(6, 8, bias=False), nn.Linear(8, 4, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(8) for _ in range(3))
        self.up, self.down = (nn.ModuleList(nn.Linear(*s, bias=False) for _ in "ab") for s in ((8, 10), (10, 8)))
        self.tied = tied

    def forward(self, x):
        x = self.enter(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=False):
            x = x + down(F.gelu(up(norm(x))))
        y = self.norms[2](x)
        return self.out(y + x if self.tied else y)


def mlp(activation):
    return lambda: nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 7), activation(), nn.Linear(7, 4))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(5, 4),
    )  # fmt: skip


def vit():
    return VisionTransformer(
        img_size=8, patch_size=4, num_classes=4, embed_dim=12, depth=2, num_heads=3, mlp_ratio=20 / 12
    )


NETWORKS = {
    "identity": (mlp(nn.Identity), ROWS, {"GL": 2}),
    "gelu": (mlp(nn.GELU), ROWS, {"S": 2}),
    "relu": (mlp(nn.ReLU), ROWS, {"Mon₊": 2}),
    "tanh": (mlp(nn.Tanh), ROWS, {"S±": 2}),
    "convolutions": (convolutions, IMAGES, {"Mon₊": 2}),
    "vit": (vit, IMAGES, {"O₁": 1, "S": 4, "O × 3": 2, "GL × 3": 2}),
    "rms": (RootMeanSquare, ROWS, {"O": 1, "S": 2}),
    "rms on the stream": (lambda: RootMeanSquare(True), ROWS, {"S±": 1, "S": 2}),
}


def read(name):
    make, x, _ = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    return model.double(), x.double(), read_symmetries(read_program(model.float(), x.float()))


def titles(symmetries):
    found = [each.title for each in symmetries.symmetries]
    return {title: found.count(title) for title in found}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_keeps_the_function_and_no_larger_one_does(name):
    model, x, symmetries = read(name)
    assert titles(symmetries) == NETWORKS[name][2]
    model = model.double()
    found = checked(symmetries, model, x)
    assert found.symmetries is symmetries
    assert found.deviation < 1e-12
    trials = [Trial(symmetries, model, x, PLAIN, seed) for seed in (3, 4, 5)]
    for each in symmetries.symmetries:
        assert max(trial.deviation([each]) for trial in trials) < 1e-12
        if symmetries.inside(each.space):  # the sign of a head is a move of what is inside it
            continue
        for group in (GL, O, O1, MONOMIAL, SCALED, SIGNED):
            # Of a space whose norms were not folded nothing larger can be asked; the next test does.
            if group not in each.group and not (each.group & O1 == O1 and group == GL):
                assert max(trial.deviation([each], group) for trial in trials) > 1e-6, (each.name, name_of(group))


def test_rotations_of_a_stream_need_its_norms_folded():
    model, x, symmetries = read("rms on the stream")
    stream = next(each for each in symmetries.symmetries if each.width == 8)
    assert any("aten.rms_norm" in cause or "aten.mul" in cause for cause in stream.causes)
    assert Trial(symmetries, model.double(), x, PLAIN, 0).deviation([stream], O) > 1e-3


def test_what_does_not_hold_is_demoted_and_told():
    model, x, symmetries = read("gelu")
    wrong = replace(symmetries, symmetries=tuple(replace(each, group=GL) for each in symmetries.symmetries))
    found = checked(wrong, model.double(), x)
    assert titles(found.symmetries) == {"S": 2}
    assert found.deviation <= TOLERANCE
    assert len(found.refuted) == 2
    assert "GL was derived, S holds" in found.refuted[0]


def test_a_space_read_wrongly_is_left_out():
    model, x, symmetries = read("gelu")
    first, second = symmetries.symmetries
    wrong = replace(symmetries, symmetries=(replace(first, members=first.members[:1]), second))
    found = checked(wrong, model.double(), x)
    assert [each.space for each in found.symmetries.symmetries] == [second.space]
    assert "nothing holds" in found.refuted[0]


@pytest.mark.parametrize("name", ["vit", "rms", "convolutions"])
def test_folding_keeps_the_function_and_unfolding_takes_any_norms(name):
    model, x, symmetries = read(name)
    trial = Trial(symmetries, model.double(), x, PLAIN, 1)
    other = Trial(symmetries, model, x, PLAIN, 2).weights
    expected = trial.outputs(trial.weights)
    bare = folded(symmetries, trial.weights)
    scales = [scale for each in symmetries.symmetries for scale in each.scales]
    assert all(bool((bare[scale.scale] == 1).all()) for scale in scales)
    torch.testing.assert_close(trial.outputs(bare), expected, rtol=1e-10, atol=1e-12)
    again = unfolded(symmetries, bare, other)
    torch.testing.assert_close(trial.outputs(again), expected, rtol=1e-10, atol=1e-12)
    for scale in scales:
        torch.testing.assert_close(again[scale.scale], with_floor(other[scale.scale]))
        if scale.biases:
            torch.testing.assert_close(again[scale.shift], other[scale.shift])


def test_a_norm_that_is_nearly_off_gets_a_floor_and_signs_stay():
    gamma = torch.tensor([1.0, 2.0, 0.0, -1e-9, -3.0, 1.5])
    assert with_floor(gamma).tolist() == pytest.approx([1.0, 2.0, 0.1, -0.1, -3.0, 1.5], abs=1e-6)
    assert pytest.approx(0.1) == FLOOR


def test_a_shift_without_scale_that_no_bias_takes_is_named():
    class Unbiased(RootMeanSquare):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))

    torch.manual_seed(0)
    model = Unbiased().eval()
    symmetries = read_symmetries(read_program(model, ROWS))
    stream = next(each for each in symmetries.symmetries if each.width == 8)
    assert stream.group == O1
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    assert unfoldable(symmetries, weights) == frozenset()
    weights["norms.1.weight"][2], weights["norms.1.bias"][2] = 0.0, 0.5
    assert unfoldable(symmetries, weights) == {stream.space}
    alone = symmetries.permutations_alone(unfoldable(symmetries, weights))
    generator = torch.Generator().manual_seed(0)
    elements = {each.space: random_element(each, generator) for each in alone.symmetries}
    found = transformed(alone, weights, elements)
    model = model.double()
    before, after = (torch.func.functional_call(model, each, ROWS.double()) for each in (weights, found))
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["vit", "convolutions", "tanh"])
def test_two_transformations_are_one(name):
    model, x, symmetries = read(name)
    weights = Trial(symmetries, model.double(), x, PLAIN, 0).weights
    generator = torch.Generator().manual_seed(5)
    first, then = ({each.space: random_element(each, generator) for each in symmetries.symmetries} for _ in range(2))
    bare = folded(symmetries, weights)
    one_by_one = moved(symmetries, moved(symmetries, bare, first), then)
    at_once = moved(symmetries, bare, combined(symmetries, first, then))
    for each in weights:
        torch.testing.assert_close(at_once[each], one_by_one[each], rtol=1e-9, atol=1e-11)


def test_types_names_and_what_is_not_read_are_kept():
    model, _, symmetries = read("vit")
    weights = {name: tensor.float() for name, tensor in model.state_dict().items()} | {"counter": torch.tensor(3)}
    generator = torch.Generator().manual_seed(0)
    elements = {each.space: random_element(each, generator) for each in symmetries.symmetries}
    found = transformed(symmetries, weights, elements)
    assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in weights.items()}
    assert found["counter"] is weights["counter"]


def test_moving_is_differentiable():
    _, _, symmetries = read("vit")
    torch.manual_seed(0)
    model = vit()
    weights = folded(symmetries, {name: tensor.double() for name, tensor in model.state_dict().items()})
    values = next(each for each in symmetries.symmetries if each.group == GL)

    def total(matrix):
        found = moved(symmetries, weights, {values.space: Element(matrix=matrix)})
        return torch.stack([found[member.weight].square().sum() for member in values.members])

    matrix = torch.eye(4, dtype=torch.float64) + 0.1 * torch.randn(3, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(total, (matrix.requires_grad_(),))


def test_what_survives_two_operations_is_in_both_groups():
    assert meet([O, SCALED]) == S
    assert largest(meet([O, MONOMIAL])) == SIGNED
    assert meet([O1, SIGNED]) == S
    assert largest(meet([GL, O])) == O
    assert meet([]) == GL
    assert largest(NOTHING) == NOTHING
    assert name_of(NOTHING) == "—"
    assert all(named(name_of(group)) == group for group in (S, SIGNED, SCALED, MONOMIAL, O1, O, GL))


def test_coverage_counts_what_moves():
    _, _, symmetries = read("gelu")
    assert symmetries.coverage == pytest.approx(1 - 4 / (6 * 8 + 8 + 8 * 7 + 7 + 7 * 4 + 4))
    assert replace(symmetries, symmetries=()).coverage == 0


@pytest.mark.parametrize("heads", [2, 4])
def test_queries_keys_and_values_of_pytorchs_own_attention_are_told_apart(heads):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.out = nn.MultiheadAttention(8, heads, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))

    torch.manual_seed(0)
    model, x = Attending().eval(), torch.randn(3, 5, 8)
    symmetries = read_symmetries(read_program(model, x))
    assert {f"O × {heads}", f"GL × {heads}", "S"} <= set(titles(symmetries))
    assert checked(symmetries, model.double(), x.double()).deviation < 1e-12
