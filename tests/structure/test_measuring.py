"""Groups measured by derivatives: they agree with what is derived, and where the derivation is wrong they say so.

What the package measures backwards is compared with forward derivatives of the module; which slices of weights belong
together, and with which signs, with the null vectors of one column a slice (`circuits`).
"""

import copy
from dataclasses import replace

import pytest
import torch
from circuits import circuits, columns, parts_of, seen, slope
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.structure import Element, Symmetries, apply, folded, measured, read_program, read_symmetries
from connectivity_hooks.structure.symmetries import effects
from connectivity_hooks.structure.symmetries.drawing import random_weights
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, NOTHING, O1, SCALED, SIGNED, Group, O, S


class Gated(nn.Module):
    """A gated unit between two linear maps, and a tanh."""

    def __init__(self):
        super().__init__()
        self.stem, self.value, self.gate = nn.Linear(6, 7), nn.Linear(7, 9), nn.Linear(7, 9)
        self.back, self.out = nn.Linear(9, 5), nn.Linear(5, 24)

    def forward(self, x):
        x = self.stem(x)
        return self.out(self.back(self.value(x) * F.silu(self.gate(x))).tanh())


class GroupedQueries(nn.Module):
    """Four heads of queries, two of keys and values, behind an RMS norm."""

    def __init__(self):
        super().__init__()
        self.table, self.norm, self.last = nn.Linear(6, 12), nn.RMSNorm(12), nn.RMSNorm(12)
        self.q, self.k, self.v = (
            nn.Linear(12, 16, bias=False),
            nn.Linear(12, 8, bias=False),
            nn.Linear(12, 8, bias=False),
        )
        self.back, self.out = nn.Linear(16, 12, bias=False), nn.Linear(12, 10)

    def forward(self, x):
        x = self.table(x)
        h = self.norm(x)
        q = self.q(h).view(len(x), 5, 4, 4).transpose(1, 2)
        k, v = (each(h).view(len(x), 5, 2, 4).transpose(1, 2) for each in (self.k, self.v))
        k, v = (each[:, :, None].expand(-1, -1, 2, -1, -1).reshape(len(x), 4, 5, 4) for each in (k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.back(y.transpose(1, 2).flatten(2))
        return self.out(self.last(x))


def vit(act=nn.GELU):
    return VisionTransformer(
        img_size=16, patch_size=4, num_classes=20, embed_dim=12, depth=2, num_heads=3, mlp_ratio=20 / 12, act_layer=act
    )


def convnext():
    return ConvNeXt(num_classes=20, depths=(1, 1, 1, 1), dims=(6, 8, 9, 10))


def resnet():
    return ResNet(
        BasicBlock, [1, 1, 1, 1], num_classes=20, channels=(6, 8, 8, 10), stem_type="deep_tiered", stem_width=8,
        avg_down=True,
    )  # fmt: skip


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


IMAGES = drawn(3, 3, 16, 16)
NETWORKS = {
    "vit": (vit, IMAGES, [O1, *[S, O, GL, S] * 2]),
    "vit with relu": (lambda: vit(nn.ReLU), IMAGES, [O1, *[S, O, GL, SCALED] * 2]),
    "convnext": (convnext, drawn(3, 3, 32, 32), [S] * 8),
    "resnet": (resnet, drawn(3, 3, 32, 32), [SCALED] * 11),
    "gated": (Gated, drawn(12, 6), [GL, S, SIGNED]),
    "grouped queries": (GroupedQueries, drawn(6, 5, 6), None),
}


class Read:
    """A network in float64 with random weights in folded form, its spaces and symmetries."""

    def __init__(self, make, inputs):
        torch.manual_seed(0)
        self.model = make().eval()
        self.symmetries = read_symmetries(read_program(self.model, inputs))
        self.model, self.inputs = self.model.double(), inputs.double()
        weights = random_weights(self.model.state_dict(), torch.Generator().manual_seed(2))
        self.weights = folded(self.symmetries, self.symmetries.completed(weights))

    def measured(self, symmetries=None):
        return measured(symmetries or self.symmetries, self.model, self.inputs[:1])


READ = {}


def read(name):
    """Return one of the networks, read once."""
    if name not in READ:
        READ[name] = Read(*NETWORKS[name][:2])
    return READ[name]


@pytest.fixture(params=NETWORKS)
def network(request):
    return read(request.param)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_measured_is_what_was_derived(name):
    groups = NETWORKS[name][2]
    found = read(name).measured()
    assert found.refuted == ()
    assert found.note == ""
    assert found.deviation < 1e-11
    assert all(each.derived == each.measured == each.used for each in found.comparisons)
    assert groups is None or [each.used for each in found.comparisons] == groups


def generator_of(group, width):
    """Return a random generator (n, n) of a group."""
    matrix = torch.randn(width, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    if group in (SCALED, MONOMIAL):
        return torch.diag(matrix.diagonal())
    if group in (O, O1):
        matrix = matrix - matrix.T
    if group == O1:
        beside = torch.eye(width, dtype=torch.float64) - 1 / width
        matrix = beside @ matrix @ beside
    return matrix


LARGER = {GL: (), O: (GL,), O1: (O,), MONOMIAL: (O1,), SCALED: (O1,), SIGNED: (O1, SCALED), S: (O1, SCALED)}


def along(network, symmetry, group):
    """Return the forward derivative along a generator of a group, relative to that with entries times random ones."""
    generator = generator_of(group, symmetry.width)
    tangents = []
    for member in symmetry.members:
        if member.roles & {"means", "variances"}:  # no derivative by them
            continue
        alone = replace(symmetry, members=(member,))

        def moved(t, alone=alone, name=member.weight):
            step = torch.eye(len(generator), dtype=torch.float64) + t * generator
            element = Element(matrix=step.expand(alone.copies, -1, -1))
            if group == SCALED:
                numbers = torch.arange(len(generator)).expand(alone.copies, -1)
                element = Element(order=numbers, factors=step.diagonal().expand(alone.copies, -1))
            weights = dict(network.weights)
            apply(alone, weights, element)
            return weights[name]

        at = torch.zeros((), dtype=torch.float64)
        tangents.append((member.weight, torch.func.jvp(moved, (at,), (torch.ones_like(at),))[1]))
    generator = torch.Generator().manual_seed(4)
    together, apart = ({}, {})
    for name, tangent in tangents:
        noise = torch.randn(tangent.shape, generator=generator, dtype=torch.float64)
        together[name] = together.get(name, 0) + tangent
        apart[name] = apart.get(name, 0) + noise * tangent
    slopes = [slope(network.model, network.weights, network.inputs, each) for each in (together, apart)]
    return float(slopes[0].norm() / slopes[1].norm())


def test_forward_derivatives_say_the_same(network):
    for symmetry in network.symmetries.symmetries:
        if symmetry.group & (Group.SCALE | Group.TURN_BESIDE_ONES | Group.TURN) and symmetry.width > 2:
            assert along(network, symmetry, symmetry.group) < 1e-11
        for group in LARGER[symmetry.group] if symmetry.width > 2 else ():
            assert along(network, symmetry, group) > 1e-6


def test_one_forward_derivative_along_all_generators_at_once_is_zero(network):
    symmetries = network.symmetries

    def moved(t):
        weights = dict(network.weights)
        for symmetry in symmetries.symmetries:
            if symmetry.group & (Group.TURN_BESIDE_ONES | Group.TURN):
                step = torch.eye(symmetry.width, dtype=torch.float64) + t * generator_of(symmetry.group, symmetry.width)
                apply(symmetry, weights, Element(matrix=step.expand(symmetry.copies, -1, -1)))
        return {name: weights[name] for name in symmetries.moving if "running" not in name}

    at = torch.zeros((), dtype=torch.float64)
    tangents = torch.func.jvp(moved, (at,), (torch.ones_like(at),))[1]
    size = sum(float(slope(network.model, network.weights, network.inputs, {n: t}).norm()) for n, t in tangents.items())
    assert float(slope(network.model, network.weights, network.inputs, tangents).norm()) <= 1e-11 * max(size, 1)


def test_slices_that_move_together_are_the_copies_that_were_derived(network):
    """The null vectors of a column a slice: as many as copies, each with the slices and signs of one copy's members."""
    scales = {scale.scale for each in network.symmetries.symmetries for scale in each.scales}
    for symmetry in network.symmetries.symmetries:
        if symmetry.width < 3:  # nothing turns around the vector of ones
            continue
        # Not factors where they are not derived: some slices alone may take them, as one side of a gate does.
        group = {GL: O, O: O, SCALED: SCALED}.get(symmetry.group, O1)
        parts = list(parts_of(network.symmetries.spaces, symmetry.space, network.symmetries.shapes, without=scales))
        parts = [
            part for part in parts if "running" not in part[0] and own(symmetry, part).takes_factors | (group != SCALED)
        ]
        signs = [sign_of(symmetry, part, group) for part in parts]
        generator = generator_of(group, symmetry.width)
        matrix = columns(network.model, network.weights, network.inputs, parts, [s * generator for s in signs])
        holds = symmetry.group & (Group.SCALE | Group.TURN_BESIDE_ONES | Group.TURN)
        assert circuits(matrix) == (symmetry.copies if holds else 0), symmetry.name
        if holds:
            together = torch.stack([copy_of(symmetry, part) for part in parts]) * seen(matrix)[:, None]
            assert together.sum(1).max() == 1
            relative = (matrix @ together.double()).norm(dim=0) / matrix.norm(dim=0).sum()
            assert float(relative.max()) < 1e-11, symmetry.name


def own(symmetry, part):
    return next(member for member in symmetry.members if (member.weight, member.axis) == part[:2])


def sign_of(symmetry, part, group):
    """Return −1 where a factor is taken back."""
    return -1.0 if group == SCALED and own(symmetry, part).roles == {"reads"} else 1.0


def copy_of(symmetry, part):
    """Return a vector (K,) with a one for the copy that has a slice."""
    rows = own(symmetry, part).positions  # (K, r, n)
    return (rows == part[2]).all(-1).any(-1)


def test_queries_and_keys_of_a_head_hold_all_invertible_matrices_as_duals():
    """Larger than what is derived, which moves both alike: a circuit of X on queries and −Xᵀ on keys, and its dual."""
    network = read("vit")
    for symmetry in (each for each in network.symmetries.symmetries if each.group in (O, GL)):
        parts = list(parts_of(network.symmetries.spaces, symmetry.space, network.symmetries.shapes))
        generator = generator_of(GL, symmetry.width)
        both = [generator] * len(parts) + [-generator.T] * len(parts)
        matrix = columns(network.model, network.weights, network.inputs, parts * 2, both)
        assert circuits(matrix) == 2 * symmetry.copies


def relu_mlp(activation=nn.ReLU):
    return nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 4))


def taught(monkeypatch, operation, effect):
    monkeypatch.setattr(effects, "EFFECTS", {**effects.EFFECTS, operation: effect})


X = drawn(3, 6)


@pytest.mark.parametrize(
    ("activation", "operation", "wrong", "holds"),
    [
        (nn.GELU, "aten.gelu", SCALED, S),
        (nn.GELU, "aten.gelu", GL, S),
        (nn.GELU, "aten.gelu", SIGNED, S),
        (nn.ReLU, "aten.relu", MONOMIAL, SCALED),
        (nn.ReLU, "aten.relu", O1, S),
        (nn.Tanh, "aten.tanh", MONOMIAL, SIGNED),
    ],
)
def test_a_group_that_is_too_large_is_made_smaller_and_named(monkeypatch, activation, operation, wrong, holds):
    taught(monkeypatch, operation, lambda use: wrong)
    found = Read(lambda: relu_mlp(activation), X).measured()
    (compared,) = found.comparisons
    assert (compared.derived, compared.measured, compared.used) == (wrong, holds, holds)
    assert not compared.agrees
    assert found.symmetries.symmetries[0].group == holds
    assert found.refuted
    assert all(words.startswith("0.weight: ") for words in found.refuted)
    assert found.deviation < 1e-12


@pytest.mark.parametrize(
    ("activation", "operation", "holds"),
    [
        (nn.ReLU, "aten.relu", SCALED),
        (nn.Tanh, "aten.tanh", SIGNED),
        (nn.Identity, "aten.linear", GL),
        (nn.Dropout, "aten.dropout", GL),
    ],
)
def test_a_group_that_is_too_small_is_used_and_the_larger_one_told(monkeypatch, activation, operation, holds):
    taught(monkeypatch, operation, lambda use: S)
    found = Read(lambda: relu_mlp(activation), X).measured()
    (compared,) = found.comparisons
    assert (compared.derived, compared.measured, compared.used) == (S, holds, S)
    assert found.symmetries.symmetries[0].group == S
    assert found.refuted == ()


def test_a_rotation_that_needs_no_vector_of_ones_is_told(monkeypatch):
    make = lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Linear(8, 4))  # noqa: E731
    symmetries = Read(make, X)
    (known,) = symmetries.symmetries.symmetries
    assert known.group == O
    smaller = replace(symmetries.symmetries, symmetries=(replace(known, group=O1),))
    (compared,) = symmetries.measured(smaller).comparisons
    assert (compared.derived, compared.measured, compared.used) == (O1, O, O1)


def mangled(symmetries: Symmetries, **changes) -> Symmetries:
    return replace(symmetries, symmetries=tuple(replace(each, **changes) for each in symmetries.symmetries))


def test_a_member_that_is_missing_is_found():
    network = Read(relu_mlp, X)
    (symmetry,) = network.symmetries.symmetries
    for left_out in symmetry.members:
        members = tuple(member for member in symmetry.members if member is not left_out)
        found = network.measured(mangled(network.symmetries, members=members))
        assert found.symmetries.symmetries == ()
        assert found.comparisons[0].measured == NOTHING


def test_copies_that_do_not_move_by_themselves_are_found():
    network = Read(lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Linear(8, 4)), X)
    (symmetry,) = network.symmetries.symmetries
    members = [replace(member, positions=member.positions.view(1, 2, 4).transpose(0, 1)) for member in symmetry.members]
    found = network.measured(mangled(network.symmetries, members=tuple(members), copies=2, width=4, group=GL))
    assert found.comparisons[0].measured == O  # blocks of rotations do hold: they are in O of all eight


def test_spaces_alike_are_tried_on_one_of_them():
    found = read("vit").measured()
    hidden = [each for each in found.comparisons if each.name.endswith("fc1.weight")]
    assert [each.like for each in hidden] == [hidden[0].name] * 2


def test_the_model_is_left_as_it_was():
    network = read("resnet")
    before = copy.deepcopy(network.model.state_dict())
    network.measured()
    after = network.model.state_dict(keep_vars=True)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.model.parameters())


def test_a_part_that_hides_its_derivative_is_tried_by_elements(monkeypatch):
    """Behind a step that is flat almost everywhere derivatives are zero, which makes no group."""

    class Floored(nn.Module):
        def forward(self, x):
            return x + (x.floor() - x).detach()

    found = Read(lambda: nn.Sequential(nn.Linear(6, 8), Floored(), nn.Linear(8, 4)), X).measured()
    (compared,) = found.comparisons
    assert compared.used == compared.measured == S
    assert found.deviation < 1e-12
