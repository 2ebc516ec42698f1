"""Activation matching: what is seen of the neurons, and what is recovered from it."""

import pytest
import torch
from torch import nn

from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Forward
from connectivity_hooks.structure import Element, Group, read_symmetries, task_program, transformed
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks_alignment.activation_matching import ActivationMatching
from connectivity_hooks_alignment.matching.activations import match_activations, recorded
from connectivity_hooks_alignment.matching.moments import Moments
from connectivity_hooks_alignment.matching.readings import readings_of

CLASSES = 3


class TestByCorrelation(AlignerSuite):
    aligner = ActivationMatching


class TestByCovariance(AlignerSuite):
    aligner = ActivationMatching
    options = {"measure": "covariance", "samples": 50}  # noqa: RUF012


# Networks


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, CLASSES))


def gelu_mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, CLASSES))


class Convolutional(nn.Module):
    """Batch norm, a residual sum, a depthwise convolution, and pixels that are flattened with their channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.back = nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 3, padding=1)
        self.depthwise, self.head = nn.Conv2d(6, 6, 3, groups=6), nn.Linear(6 * 4, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.back(torch.relu(self.inner(x)))
        return self.head(self.depthwise(x).relu().flatten(1))


class Attention(nn.Module):
    """A pre-norm block with its token of its own, queries that share keys, gates, and RMS or layer norms."""

    def __init__(self, norm=nn.LayerNorm, width=12, heads=3, shared=1, bias=True):
        super().__init__()
        self.heads, self.shared, self.inside = heads, shared, 4
        self.embed, self.token = nn.Linear(5, width, bias=bias), nn.Parameter(torch.randn(1, 1, width))
        self.norm1, self.norm2, self.norm3 = norm(width), norm(width), norm(width)
        self.q = nn.Linear(width, heads * shared * self.inside, bias=bias)
        self.k, self.v = (nn.Linear(width, heads * self.inside, bias=bias) for _ in range(2))
        self.out = nn.Linear(heads * shared * self.inside, width, bias=bias)
        self.gate, self.up, self.down = nn.Linear(width, 9), nn.Linear(width, 9), nn.Linear(9, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        y = self.norm1(x)
        q, k, v = (each(y).unflatten(-1, (-1, self.inside)).transpose(1, 2) for each in (self.q, self.k, self.v))
        k, v = (each.repeat_interleave(self.shared, 1) if self.shared > 1 else each for each in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        x = x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))
        return self.head(self.norm3(x)[:, 0])


def rms():
    return Attention(norm=nn.RMSNorm, bias=False)


def task_of(factory, shape, samples=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, *shape, generator=generator)
    targets = torch.randint(0, CLASSES, (samples,), generator=generator)
    return Task(factory, CachedSplit("train", inputs, targets), batch_size=64)


def weights_of(factory, seed=1):
    """Return weights none of which is zero or one, so that nothing hides."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = factory().state_dict()
    return {
        name: w + 0.1 * torch.rand(w.shape, generator=generator) if w.is_floating_point() else w
        for name, w in state.items()
    }


def drawn(symmetry, generator):
    """Return a random permutation, or a random rotation where the space has one, of each copy."""
    shape = (symmetry.copies, symmetry.width)
    if not symmetry.group & (Group.TURN | Group.TURN_BESIDE_ONES):
        return Element(order=torch.rand(shape, generator=generator).argsort(-1))
    noise = torch.randn(*shape, symmetry.width, generator=generator, dtype=torch.float64)
    if Group.TURN in symmetry.group:
        return Element(matrix=torch.linalg.qr(noise).Q)
    first = torch.eye(symmetry.width, dtype=torch.float64)
    first[:, 0] = 1
    basis = torch.linalg.qr(first).Q
    inner = torch.eye(symmetry.width, dtype=torch.float64).repeat(symmetry.copies, 1, 1)
    inner[:, 1:, 1:] = torch.linalg.qr(noise[:, 1:, 1:]).Q
    return Element(matrix=basis @ inner @ basis.T)


def moved_copy(task, weights, seed=2):
    """Return an equal copy with every space moved, and the titles of the groups it was moved by."""
    symmetries, generator = read_symmetries(task_program(task)), torch.Generator().manual_seed(seed)
    elements = {each.space: drawn(each, generator) for each in symmetries.symmetries}
    return transformed(symmetries, weights, elements), {each.title for each in symmetries.symmetries}


def aligned(task, a, b, seed=0, **options):
    return ActivationMatching(make_options(ActivationMatching.Options, options, "activation-matching"), seed=seed).align(
        a, b, task
    )


def largest_difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# Recovery


@pytest.mark.parametrize("measure", ["correlation", "covariance"])
@pytest.mark.parametrize(("factory", "shape"), [(mlp, (5,)), (gelu_mlp, (5,)), (Convolutional, (2, 4, 4))])
def test_a_permuted_copy_is_recovered_bit_for_bit(factory, shape, measure):
    task, a = task_of(factory, shape), weights_of(factory)
    b, titles = moved_copy(task, a)
    assert titles <= {"S", "Mon₊", "Mon"}
    assert largest_difference(a, b) > 0.1
    found = aligned(task, a, b, measure=measure).weights
    assert all(torch.equal(found[name], a[name]) for name in a)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [(Attention, {"O₁", "O × 3", "GL × 3", "S", "S"}), (rms, {"O", "O × 3", "GL × 3", "S"})],
)
def test_a_rotated_copy_with_exchanged_heads_is_recovered(factory, expected):
    task, a = task_of(factory, (4, 5)), weights_of(factory)
    b, titles = moved_copy(task, a)
    assert titles == expected
    assert largest_difference(a, b) > 0.1
    assert largest_difference(a, aligned(task, a, b).weights) < 1e-5


def test_grouped_queries_are_recovered():
    def grouped():
        return Attention(shared=2)

    task, a = task_of(grouped, (4, 5)), weights_of(grouped)
    b, _ = moved_copy(task, a)
    assert largest_difference(a, b) > 0.1
    assert largest_difference(a, aligned(task, a, b).weights) < 1e-5


def test_a_scaled_copy_is_recovered_where_a_factor_passes_through():
    task, a = task_of(mlp, (5,)), weights_of(mlp)
    b = {name: w.clone() for name, w in a.items()}
    factors = torch.linspace(0.5, 2, 6)
    b["0.weight"], b["0.bias"] = b["0.weight"] * factors[:, None], b["0.bias"] * factors
    b["2.weight"] = b["2.weight"] / factors
    assert largest_difference(aligned(task, a, b).weights, a) < 1e-6
