"""Activation matching: what is seen of the neurons, and what is recovered from it."""

import itertools

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
from connectivity_hooks_alignment.matching.by_activations.activations import match_activations
from connectivity_hooks_alignment.matching.by_activations.moments import Moments
from connectivity_hooks_alignment.matching.by_activations.readings import readings_of
from connectivity_hooks_alignment.matching.by_activations.recording import recorded

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


class Grouped(nn.Module):
    """Convolutions whose groups are exchanged as wholes, and the channels inside them alike in all groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(2, 12, 3), nn.Conv2d(12, 12, 3, groups=3, padding=1)
        self.again, self.head = nn.Conv2d(12, 9, 1, groups=3), nn.Linear(9, CLASSES)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.stem(x))))
        return self.head(torch.relu(self.again(x)).mean((2, 3)))


class Standardised(nn.Module):
    """A weight that is standardised before it is used, and gates that are the same for every sample."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.first, self.second = nn.Linear(4, 7), nn.Linear(7, 6)

    def forward(self, x):
        weight = self.inner.weight - self.inner.weight.mean(1, keepdim=True)
        x = torch.relu(nn.functional.linear(torch.relu(self.stem(x)), weight))
        return self.head(x * self.second(torch.relu(self.first(torch.linspace(-1, 1, 4, dtype=x.dtype)))))


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
    return ActivationMatching(
        make_options(ActivationMatching.Options, options, "activation-matching"), seed=seed
    ).align(a, b, task)


def largest_difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# Recovery


@pytest.mark.parametrize("measure", ["correlation", "covariance"])
@pytest.mark.parametrize(
    ("factory", "shape"), [(mlp, (5,)), (gelu_mlp, (5,)), (Convolutional, (2, 4, 4)), (Grouped, (2, 6, 6))]
)
def test_a_permuted_copy_is_recovered_bit_for_bit(factory, shape, measure):
    task, a = task_of(factory, shape), weights_of(factory)
    b, titles = moved_copy(task, a)
    assert titles <= {"S", "S × 3", "Mon₊", "Mon"}
    assert largest_difference(a, b) > 0.1
    found = aligned(task, a, b, measure=measure).weights
    assert all(torch.equal(found[name], a[name]) for name in a)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [(Attention, {"O₁", "O × 3", "GL × 3", "S"}), (rms, {"O", "O × 3", "GL × 3", "S"})],
)
def test_a_rotated_copy_with_exchanged_heads_is_recovered(factory, expected):
    task, a = task_of(factory, (4, 5)), weights_of(factory)
    b, titles = moved_copy(task, a)
    assert titles == expected
    assert largest_difference(a, b) > 0.1
    assert largest_difference(a, aligned(task, a, b).weights) < 1e-5


class HeadsFirst(nn.Module):
    """Heads and samples along one axis, the samples behind the heads, as a batch of matrices that are multiplied."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.head = nn.Linear(5, 36), nn.Linear(12, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        samples, tokens, _ = x.shape
        parts = self.qkv(x).view(samples, tokens, 3, 3, 4).permute(2, 3, 0, 1, 4)
        q, k, v = (part.reshape(3 * samples, tokens, 4) for part in parts)
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
        y = y.view(3, samples, tokens, 4).permute(1, 2, 0, 3).reshape(samples, tokens, 12)
        return self.head(torch.relu(self.out(y)).mean(1))


def test_heads_in_front_of_samples_are_recovered():
    task, a = task_of(HeadsFirst, (4, 5)), weights_of(HeadsFirst)
    b, _ = moved_copy(task, a)
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


def test_factors_are_left_out_where_they_would_take_the_weights_farther():
    """Three times as large on both sides of a neuron: a third before it is nine times behind it."""
    task, a = task_of(mlp, (5,)), weights_of(mlp)
    b = a | {name: 3 * a[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")}
    found = aligned(task, a, b).weights
    assert all(torch.equal(found[name], b[name]) for name in b)


# What is seen


def by_hand(weights, inputs):
    """Return the two hidden layers of `mlp` in float64, written out."""
    w = {name: each.double() for name, each in weights.items()}
    first = (inputs.double() @ w["0.weight"].T + w["0.bias"]).clamp_min(0)
    return first, (first @ w["2.weight"].T + w["2.bias"]).clamp_min(0)


def test_cross_covariances_are_those_of_all_rows_at_once():
    task = task_of(mlp, (5,), samples=96)
    a, b = weights_of(mlp, 1), weights_of(mlp, 2)
    symmetries = read_symmetries(task_program(task))
    seen = recorded(task, symmetries, a, b, samples=96)
    assert seen.samples == 96
    for symmetry, one, other in zip(
        symmetries.symmetries, by_hand(a, task.train.inputs), by_hand(b, task.train.inputs), strict=True
    ):
        (moments,) = seen.of(symmetry)
        x, y = one - one.mean(0), other - other.mean(0)
        assert moments.rows == 96
        assert torch.allclose(moments.covariances()[0], x.T @ y / 96, atol=1e-7)
        assert torch.allclose(moments.variances()[0, 0], x.square().mean(0), atol=1e-7)
        assert torch.allclose(moments.variances()[1, 0], y.square().mean(0), atol=1e-7)


@pytest.mark.parametrize("measure", ["correlation", "covariance"])
def test_permutations_are_the_best_of_all(measure):
    """All 720 orders of the first hidden layer, compared by values that are written out."""
    task = task_of(mlp, (5,), samples=96)
    a, b = weights_of(mlp, 1), weights_of(mlp, 2)
    symmetries = read_symmetries(task_program(task))
    x, y = (by_hand(each, task.train.inputs)[0] for each in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    if measure == "correlation":
        x, y = x / x.norm(dim=0), y / y.norm(dim=0)
    orders = torch.tensor(list(itertools.permutations(range(6))))
    gains = (x.T @ y)[torch.arange(6), orders].sum(1)
    found = match_activations(symmetries, recorded(task, symmetries, a, b, samples=96), a, b, measure=measure)
    assert found[symmetries.symmetries[0].space].order[0].tolist() == orders[gains.argmax()].tolist()


@pytest.mark.parametrize("pairs", [False, True])
def test_moments_do_not_depend_on_how_rows_are_divided(pairs, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (1000 + torch.randn(2, 60, 3, generator=generator) for _ in range(2))  # a mean far from zero
    whole, parts = Moments(pairs), Moments(pairs)
    whole.add(a, b)
    monkeypatch.setattr("connectivity_hooks_alignment.matching.by_activations.moments.AT_ONCE", 24)
    for one, other in zip(a.split(17, 1), b.split(17, 1), strict=True):
        parts.add(one, other)
    x, y = (each.double() - each.double().mean(1, keepdim=True) for each in (a, b))
    expected = torch.einsum("xsn,ysm->xynm", x, y) / 60
    expected = expected if pairs else expected[torch.arange(2), torch.arange(2)]
    for moments in (whole, parts):
        assert torch.allclose(moments.covariances(), expected, rtol=1e-9)
        assert torch.allclose(moments.variances()[1], y.square().mean(1), rtol=1e-9)


def test_a_neuron_that_changes_by_rounding_alone_is_dead():
    moments = Moments(False)
    a = torch.full((1, 8, 2), 0.1)
    a[0, :, 1] = torch.arange(8)
    a[0, 3, 0] = torch.nextafter(a[0, 3, 0], torch.tensor(1.0))
    moments.add(a, a)
    assert moments.variances()[0, 0].tolist() == [0, pytest.approx(5.25)]


def test_dead_neurons_leave_the_others_where_they_belong():
    task, a = task_of(mlp, (5,)), weights_of(mlp)
    a["0.bias"][2] = -100.0
    b, _ = moved_copy(task, a)
    found = aligned(task, a, b).weights
    assert all(torch.equal(found[name], a[name]) for name in a)


def test_a_layer_of_dead_neurons_stays_where_it_is():
    task, a, b = task_of(mlp, (5,)), weights_of(mlp), weights_of(mlp, 2)
    for weights in (a, b):
        weights["0.bias"] -= 100
    found = aligned(task, a, b).weights
    assert all(found[name].isfinite().all() for name in found)
    assert torch.equal(found["0.weight"], b["0.weight"])


def test_streams_are_seen_as_norms_give_them_before_their_scale():
    """γ and β of either network are folded away, so that a stream that was rotated is the same one rotated."""
    task = task_of(Attention, (4, 5), samples=64)
    a = weights_of(Attention)
    program = task_program(task)
    symmetries = read_symmetries(program)
    stream = symmetries.symmetries[0]
    values = [reading.value for reading in readings_of(program, symmetries) if reading.symmetry is stream]
    assert len(values) == 3
    for moments in recorded(task, symmetries, a, a, samples=64).of(stream):
        assert float(moments.covariances().sum(-1).abs().max()) < 1e-6  # layer norm before β: a mean of zero
        assert float(moments.variances()[0].sum()) <= stream.width


# Data


def test_samples_are_drawn_by_the_seed():
    task, a, b = task_of(gelu_mlp, (5,)), weights_of(gelu_mlp, 1), weights_of(gelu_mlp, 2)
    symmetries = read_symmetries(task_program(task))
    seen = [recorded(task, symmetries, a, b, samples=20, seed=seed) for seed in (0, 0, 1)]
    one, again, other = (each.of(symmetries.symmetries[0])[0].covariances() for each in seen)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("samples", "seen"), [(64, 64), (65, 63), (97, 96), (31, 31), (2, 2)])
def test_samples_are_run_in_portions_of_one_size(samples, seen):
    """A model that puts a token before each sample is traced for one number of samples."""
    task, a = task_of(Attention, (4, 5)), weights_of(Attention)
    assert recorded(task, read_symmetries(task_program(task)), a, a, samples=samples).samples == seen


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 6), nn.Linear(2, 6), nn.Linear(6, CLASSES)

    def forward(self, left, right):
        return {"logits": self.head(torch.relu(self.first(left) + self.second(right)))}


def pair_of(kind):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(90, 3, generator=generator), torch.randn(90, 2, generator=generator)
    inputs = {"left": left, "right": right} if kind == "mapping" else (left, right)
    return Task(Named, CachedSplit("train", inputs, torch.zeros(90).long()), forward=Forward("logits"))


@pytest.mark.parametrize("kind", ["mapping", "tuple"])
def test_named_inputs_and_several_arguments_are_run(kind):
    task, a = pair_of(kind), weights_of(Named)
    b, _ = moved_copy(task, a)
    found = aligned(task, a, b).weights
    assert all(torch.equal(found[name], a[name]) for name in a)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.hidden, self.head = nn.Embedding(11, 6), nn.Linear(6, 7), nn.Linear(7, CLASSES)

    def forward(self, codes):
        return self.head(torch.relu(self.hidden(self.table(codes))).mean(1))


def test_batches_of_several_lengths_are_matched_by_those_that_are_as_long_as_the_first():
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randint(0, 11, (16, length), generator=generator), torch.zeros(16).long()) for length in (4, 6, 4, 5, 4)
    ]
    task, a = Task(Words, BatchedSplit("train", batches)), weights_of(Words)
    b, _ = moved_copy(task, a)
    found = aligned(task, a, b)
    assert found.record["samples"] == 48
    assert largest_difference(found.weights, a) < 1e-6


# What cannot be told


def test_what_no_sample_changes_is_no_value_to_look_at():
    task, a = task_of(Standardised, (5,)), weights_of(Standardised)
    program = task_program(task)
    values = {reading.value for reading in readings_of(program, read_symmetries(program))}
    steps = {step.name: step for step in program.steps}
    assert {steps[name].operation for name in values} == {"aten.relu", "aten.mul"}
    b, _ = moved_copy(task, a)
    found = aligned(task, a, b)
    assert [note.partition(":")[0] for note in found.record["notes"]] == ["first.weight"]
    assert "no value shows what its neurons do; they are matched by weights" in found.record["notes"][0]
    assert largest_difference(a, found.weights) == 0


def test_too_few_samples_are_said_with_the_number_needed():
    task, a, b = task_of(mlp, (5,)), weights_of(mlp), weights_of(mlp, 2)
    assert aligned(task, a, b, samples=8).record["notes"] == []
    (note,) = aligned(task, a, b, samples=7).record["notes"]
    assert note.startswith("2.weight: 7 rows of 7 neurons")
    assert "; 8 samples are needed" in note


def test_tokens_count_as_samples():
    task, a, b = task_of(Attention, (4, 5)), weights_of(Attention), weights_of(Attention, 2)
    assert aligned(task, a, b, samples=3).record["notes"] == []  # 15 rows of 12
    notes = aligned(task, a, b, samples=2).record["notes"]  # 10 rows
    assert len(notes) == 1
    assert "10 rows of 12 neurons" in notes[0]
    assert "; 3 samples are needed" in notes[0]


def test_one_sample_is_refused():
    task, a = task_of(mlp, (5,), samples=1), weights_of(mlp)
    with pytest.raises(InputError, match="found 1"):
        aligned(task, a, a)


def test_values_that_are_not_finite_are_refused_by_the_checkpoint_that_gives_them():
    task, a, b = task_of(mlp, (5,)), weights_of(mlp), weights_of(mlp, 2)
    b["0.weight"] = b["0.weight"] * 1e38
    b["2.weight"] = b["2.weight"] * 1e38
    with pytest.raises(InputError, match="the second checkpoint gives values that are not finite"):
        aligned(task, a, b)
