"""Losses against torch.nn.functional's own reductions on all the data at once, however it is divided into batches."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task, custom_loss
from connectivity_hooks.tasks.loss import (
    IGNORED,
    Reading,
    Terms,
    cross_entropy,
    joined,
    read_targets,
    resolve_loss,
    settled,
)
from connectivity_hooks.tasks.making import check_task

N, C = 9, 4
GENERATOR = torch.Generator().manual_seed(0)


def values(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def labels(*shape, ignored=0.0):
    drawn = torch.randint(0, C, shape, generator=GENERATOR)
    return torch.where(torch.rand(shape, generator=GENERATOR) < ignored, IGNORED, drawn)


CASES = {
    "labels": ("cross-entropy", F.cross_entropy, values(N, C), labels(N)),
    "some ignored": ("cross-entropy", F.cross_entropy, values(N, C), labels(N, ignored=0.5)),
    "tokens": ("cross-entropy", F.cross_entropy, values(N, C, 7), labels(N, 7)),
    "tokens, some ignored": ("cross-entropy", F.cross_entropy, values(N, C, 7), labels(N, 7, ignored=0.6)),
    "pixels, some ignored": ("cross-entropy", F.cross_entropy, values(N, C, 3, 5), labels(N, 3, 5, ignored=0.3)),
    "probabilities": ("cross-entropy", F.cross_entropy, values(N, C), values(N, C).softmax(1)),
    "probabilities of tokens": ("cross-entropy", F.cross_entropy, values(N, C, 3), values(N, C, 3).softmax(1)),
    "bce": ("bce", F.binary_cross_entropy_with_logits, values(N, C), values(N, C).sigmoid()),
    "bce of masks": ("bce", F.binary_cross_entropy_with_logits, values(N, 1, 3, 3), (values(N, 1, 3, 3) > 0).double()),
    "mse": ("mse", F.mse_loss, values(N, 3), values(N, 3)),
    "l1": ("l1", F.l1_loss, values(N, 3), values(N, 3)),
    "huber": ("huber", F.huber_loss, 3 * values(N), values(N)),
}


def divided(outputs, targets, size, measure):
    return joined([measure(o, y) for o, y in zip(outputs.split(size), targets.split(size), strict=True)])


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_torchs_for_every_division_into_batches(case):
    name, function, outputs, targets = CASES[case]
    expected = function(outputs, targets)
    for size in (1, 2, 4, N):
        terms = divided(outputs, targets, size, LOSSES[name].measure)
        assert terms.sums.shape == terms.weights.shape == (N,)
        torch.testing.assert_close(terms.mean(), expected, rtol=1e-13, atol=0)
        torch.testing.assert_close((terms.values() * terms.weights).sum() / terms.weights.sum(), expected)


@pytest.mark.parametrize("case", CASES)
def test_training_descends_torchs_own_gradient(case):
    name, function, outputs, targets = CASES[case]
    found, expected = (outputs.clone().requires_grad_() for _ in range(2))
    loss, wanted = LOSSES[name](found, targets), function(expected, targets)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] in ("cross-entropy", "bce")])
def test_errors_are_counted_over_what_counts(case):
    name, _, outputs, targets = CASES[case]
    wrong, counted = 0, 0
    rows = outputs.movedim(1, -1).reshape(-1, C) if name == "cross-entropy" else outputs.reshape(-1, 1)
    wanted = targets.movedim(1, -1).reshape(-1, C) if targets.shape == outputs.shape and name != "bce" else targets
    for row, label in zip(rows, wanted.reshape(len(rows), -1), strict=True):
        if name == "bce":
            right = bool(row > 0) == bool(label > 0.5)
        elif len(label) == 1 and int(label) == IGNORED:
            continue
        else:
            right = int(row.argmax()) == (int(label) if len(label) == 1 else int(label.argmax()))
        wrong, counted = wrong + (not right), counted + 1
    for size in (1, 2, N):
        terms = divided(outputs, targets, size, LOSSES[name].errors)
        assert (int(terms.sums.sum()), int(terms.weights.sum())) == (wrong, counted)


def test_sequences_of_unequal_length_are_averaged_by_token():
    outputs, targets = torch.zeros(2, C, 10), torch.zeros(2, 10, dtype=torch.long)
    outputs[0, 0], targets[0, 1:] = 5.0, IGNORED  # one easy token, and ten at log 4
    terms = LOSSES["cross-entropy"].measure(outputs, targets)
    assert terms.weights.tolist() == [1, 10]
    assert float(terms.mean()) == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-6)


def test_a_sample_of_which_nothing_counts_weighs_nothing():
    outputs, targets = values(3, C), torch.tensor([IGNORED, 1, 2])
    terms, errors = LOSSES["cross-entropy"].measure(outputs, targets), LOSSES["cross-entropy"].errors(outputs, targets)
    assert terms.weights.tolist() == errors.weights.tolist() == [0, 1, 1]
    assert terms.values()[0] == errors.sums[0] == 0
    batch = outputs[:1].clone().requires_grad_()
    LOSSES["cross-entropy"](batch, targets[:1]).backward()  # a batch of a training may have no other
    assert not batch.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_every_built_in_loss_is_convex_along_random_lines(name):
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(N) % 4 if name == "cross-entropy" else torch.rand(N, 4, generator=generator)
    for _ in range(50):
        a, b = (5 * torch.randn(N, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        t = float(torch.rand(1, generator=generator))
        along = LOSSES[name].terms(torch.lerp(a, b, t), targets).sums
        chord = torch.lerp(LOSSES[name].terms(a, targets).sums, LOSSES[name].terms(b, targets).sums, t)
        assert (along <= chord + 1e-12).all()


ONE = values(N, 1)
SIGNS = torch.arange(N) % 2
MATCHED = {
    "int (N,)": ("bce", ONE, SIGNS),
    "int (N, 1)": ("bce", ONE, SIGNS[:, None]),
    "bool (N, 1)": ("bce", ONE, SIGNS[:, None].bool()),
    "bool (N,)": ("bce", ONE, SIGNS.bool()),
    "float (N,)": ("bce", ONE, SIGNS.float()),
    "float (N, 1)": ("bce", ONE, SIGNS[:, None].float()),
    "outputs (N,)": ("bce", ONE[:, 0], SIGNS[:, None]),
    "masks without a channel": ("bce", ONE[:, :, None, None].expand(N, 1, 2, 2), SIGNS[:, None, None].expand(N, 2, 2)),
    "regression (N,)": ("mse", ONE, values(N)),
    "regression outputs (N,)": ("l1", ONE[:, 0], values(N, 1)),
    "huber (N,)": ("huber", ONE, values(N)),
}


@pytest.mark.parametrize("case", MATCHED)
def test_targets_that_differ_by_axes_of_one_are_taken_and_never_broadcast(case):
    name, outputs, targets = MATCHED[case]
    expected = LOSSES[name].measure(outputs.reshape(N, -1), targets.reshape(N, -1).double())
    for loss in (LOSSES[name].measure, LOSSES[name].errors):
        if loss is not None:
            found = loss(outputs, targets)
            assert found.sums.shape == (N,)
            assert found.weights.tolist() == [outputs[0].numel()] * N
    torch.testing.assert_close(LOSSES[name].measure(outputs, targets).sums, expected.sums)
    torch.testing.assert_close(LOSSES[name](outputs, targets), expected.mean())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integers_in_a_column_are_labels(dtype):
    outputs, targets = values(N, C), labels(N)
    expected = F.cross_entropy(outputs, targets)
    for given in (targets, targets[:, None]):
        torch.testing.assert_close(LOSSES["cross-entropy"].measure(outputs, given.to(dtype)).mean(), expected)
        assert LOSSES["cross-entropy"].errors(outputs, given.to(dtype)).sums.shape == (N,)


def test_classes_on_the_last_axis_are_found_where_labels_fit_nothing_else():
    outputs, targets = values(N, 7, C), labels(N, 7, ignored=0.3)
    expected = F.cross_entropy(outputs.movedim(-1, 1), targets)
    loss = LOSSES["cross-entropy"]
    torch.testing.assert_close(loss.measure(outputs, targets).mean(), expected)
    torch.testing.assert_close(loss(outputs, targets), expected)
    wrong = (outputs.argmax(-1) != targets) & (targets != IGNORED)
    assert loss.errors(outputs, targets).sums.tolist() == wrong.sum(1).tolist()


def test_a_batch_with_as_many_positions_as_classes_is_read_like_the_first():
    square, targets = values(N, C, C), labels(N, C)
    second, last = F.cross_entropy(square, targets), F.cross_entropy(square.movedim(-1, 1), targets)
    loss = LOSSES["cross-entropy"]
    torch.testing.assert_close(loss.measure(square, targets).mean(), second)  # PyTorch's own reading
    torch.testing.assert_close(settled(loss, values(N, 7, C), labels(N, 7)).measure(square, targets).mean(), last)
    torch.testing.assert_close(settled(loss, values(N, C, 7), labels(N, 7)).measure(square, targets).mean(), second)
    with pytest.raises(InputError, match=r"labels \(9, 7\) do not fit outputs \(9, 4, 7\)"):
        settled(loss, values(N, 7, C), labels(N, 7)).measure(values(N, C, 7), labels(N, 7))


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "said"),
    [
        ("cross-entropy", (3,), torch.zeros(3, dtype=torch.long), r"expected outputs \(samples, classes, …\)"),
        ("cross-entropy", (3, 2), torch.zeros(3, 2, dtype=torch.long), r"labels \(3, 2\) do not fit outputs \(3, 2\)"),
        ("cross-entropy", (3, 2), torch.zeros(3, 4), r"probabilities \(3, 4\) do not fit outputs \(3, 2\)"),
        ("cross-entropy", (3, 2), torch.zeros(3), r"labels \(3,\) are floating numbers; store them as integers"),
        ("cross-entropy", (3, 1), torch.zeros(3, dtype=torch.long), r"\(--loss\) bce"),
        ("cross-entropy", (3, 1), torch.zeros(3, 1), r"\(--loss\) bce"),
        ("cross-entropy", (3, 5, 1), torch.zeros(3, 5, dtype=torch.long), r"\(--loss\) bce"),
        ("cross-entropy", (5, 3, 2), torch.zeros(3, 5, dtype=torch.long), r"outputs.transpose\(0, 1\)"),
        ("bce", (3, 4), torch.zeros(3, dtype=torch.long), r"\(3, 4\), targets \(3,\); .*\(--loss\) cross-entropy"),
        ("mse", (3, 2), torch.zeros(3), r"outputs have shape \(3, 2\), targets \(3,\)"),
        ("mse", (3, 1), torch.zeros(1, 3), r"outputs have shape \(3, 1\), targets \(1, 3\)"),
        ("mse", (1, 3), torch.zeros(3), r"outputs have shape \(1, 3\), targets \(3,\)"),
        ("l1", (3, 2, 4), torch.zeros(3, 4, 2), r"outputs have shape \(3, 2, 4\), targets \(3, 4, 2\)"),
        ("huber", (), torch.zeros(()), r"outputs have shape \(\)"),
    ],
)
def test_what_fits_in_no_way_is_refused_with_the_shapes_as_they_came(name, outputs, targets, said):
    for check in (LOSSES[name].check, LOSSES[name].measure, LOSSES[name]):
        with pytest.raises(InputError, match=f"loss {name}: .*{said}"):
            check(torch.zeros(outputs), targets)


def task(outputs, targets, loss="cross-entropy"):
    """Return a task whose model gives these outputs."""

    class Table(nn.Module):
        def forward(self, rows):
            return outputs[rows[:, 0].long()]

    loss = LOSSES[loss] if isinstance(loss, str) else loss
    rows = torch.arange(len(targets), dtype=torch.float32)[:, None]
    return Task(Table, CachedSplit("train", rows, targets), loss=loss, data_name="x.npz")


@pytest.mark.parametrize("wrong", [-1, -101, C, 300])
def test_labels_out_of_range_are_refused_and_ignored_ones_are_not(wrong):
    outputs, targets = values(N, C, 7), labels(N, 7, ignored=0.3)
    good = task(outputs, targets)
    check_task(good, good.model())
    targets[4, 4] = wrong
    low, high = min(wrong, 0), max(wrong, C - 1)
    bad = task(outputs, targets)
    expected = rf"labels lie in \[{low}, {high}\], the model has {C} outputs; expected labels in \[0, {C - 1}\]"
    with pytest.raises(InputError, match=f"x.npz: train {expected}"):
        check_task(bad, bad.model())
    with pytest.raises(InputError, match=f"loss cross-entropy: {expected}"):
        LOSSES["cross-entropy"].measure(outputs, targets)


def test_a_split_of_which_nothing_counts_is_refused():
    nothing = task(values(N, C), torch.full((N,), IGNORED))
    with pytest.raises(InputError, match="train labels are all -100"):
        check_task(nothing, nothing.model())


def test_probabilities_of_classes_on_the_last_axis_are_refused():
    outputs, targets = values(N, 7, C), values(N, 7, C).softmax(-1)
    last = task(outputs, targets)
    with pytest.raises(InputError, match=r"train probabilities \(\d, 7, 4\) sum to 1 along the last axis"):
        check_task(last, last.model())
    second = task(outputs.movedim(-1, 1), targets.movedim(-1, 1))
    check_task(second, second.model())


def test_a_refusal_names_what_a_newcomer_forgot():
    with pytest.raises(
        InputError, match=r"labels \(9, 4\) do not fit .*; for several labels .* give loss= \(--loss\) bce"
    ):
        LOSSES["cross-entropy"].check(values(N, C), labels(N, C))
    with pytest.raises(
        InputError, match=r"targets \(9,\); .*; for an autoencoder let the loader give its inputs alone"
    ):
        LOSSES["mse"].check(values(N, 1, 3, 3), labels(N))


@pytest.mark.parametrize("shape", [(N, C), (N, C, 3)])
def test_numbers_that_are_no_probabilities_are_said_to_be_weights(shape):
    several = task(values(*shape), torch.ones(shape))
    (note,) = check_task(several, several.model()).notes
    assert "do not sum to 1 over the classes and are taken for their weights" in note
    assert "for several labels of a sample, each 0 or 1, give loss= (--loss) bce" in note
    soft = task(values(*shape), values(*shape).softmax(1).to(torch.bfloat16))
    assert check_task(soft, soft.model()).notes == ()


def test_how_targets_are_read_is_said_once():
    column = task(values(N, C), labels(N, 1))
    assert check_task(column, column.model()).notes == (
        "loss cross-entropy: outputs (N, 4), targets (N, 1): targets are taken as (N,)",
    )
    tokens = task(values(N, 7, C), labels(N, 7))
    checked = check_task(tokens, tokens.model())
    assert "the last axis of the outputs is taken for the classes" in checked.notes[0]
    assert check_task(checked, tokens.model()).notes == checked.notes
    square = task(values(N, C, C), labels(N, C))
    assert "outputs.movedim(-1, 1)" in check_task(square, square.model()).notes[0]
    plain, made = task(values(N, C), labels(N)), []
    plain = dataclasses.replace(plain, factory=lambda factory=plain.factory: made.append(factory()) or made[-1])
    checked = check_task(plain, plain.structure())
    assert checked.notes == ()
    assert checked.blank() is not made[0]  # which ran
    assert len(made) == 1


def weighted(outputs, targets):
    """Return the cross-entropy with weights of classes, as sums and weights."""
    weight = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=outputs.dtype)
    return F.cross_entropy(outputs, targets, weight=weight, reduction="none"), weight[targets]


def test_a_loss_of_ones_own_may_give_sums_and_weights():
    outputs, targets = values(N, C, 7), labels(N, 7)
    weight = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    loss = custom_loss("own", weighted, convex=True)
    expected = F.cross_entropy(outputs, targets, weight=weight)
    for size in (1, 2, N):
        torch.testing.assert_close(divided(outputs, targets, size, loss.measure).mean(), expected)
    torch.testing.assert_close(loss(outputs, targets), expected)
    own = task(outputs, targets, loss)
    check_task(own, own.model())


def test_a_loss_of_ones_own_without_weights_counts_every_sample_once():
    outputs, targets = values(N, C, 7), labels(N, 7, ignored=0.3)
    loss = custom_loss("own", lambda o, y: F.cross_entropy(o, y, reduction="none"), convex=True)
    terms = loss.measure(outputs, targets)
    assert terms.weights.tolist() == [1.0] * N
    torch.testing.assert_close(terms.mean(), F.cross_entropy(outputs, targets, reduction="none").mean())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda o, y: F.mse_loss(o, y), r"one value per sample \(9,\), found \(\)"),
        (lambda o, y: (o.sum(1), torch.ones(3)), r"as many weights as sums, \(9,\), found \(3,\)"),
        (lambda o, y: (o.sum(1), -torch.ones(N)), "none below 0, found -1"),
        (lambda o, y: (o.sum(1), torch.full((N,), float("nan"))), "finite weights"),
        (lambda o, y: (o.sum(1), 3), "found a int"),
        (lambda o, y: (o.sum(), torch.ones(())), r"one value per sample \(9,\), found \(\)"),
    ],
)
def test_a_loss_of_ones_own_must_give_a_value_for_each_sample(function, said):
    with pytest.raises(InputError, match=f"loss own: .*{said}"):
        custom_loss("own", function, convex=True).terms(torch.zeros(N, 2), torch.zeros(N, 2))


def test_weights_that_change_with_the_outputs_are_refused():
    loss = custom_loss("own", lambda o, y: (o.square().sum(1), (o[:, 0] > 0).float()), convex=True)
    changing = task(values(N, C), labels(N), loss)
    with pytest.raises(InputError, match="loss own: its weights change with the outputs"):
        check_task(changing, changing.model())


def test_names_and_declarations_are_checked():
    with pytest.raises(UsageError, match="did you mean 'huber'"):
        resolve_loss("hubert")
    with pytest.raises(UsageError, match=r"leave loss_is_convex=False \(--loss-is-not-convex\) out"):
        resolve_loss("mse", convex=False)


def test_sums_in_bfloat16_have_exact_weights():
    terms = LOSSES["cross-entropy"].terms(torch.zeros(1, C, 257, dtype=torch.bfloat16), torch.zeros(1, 257).long())
    assert terms.weights.tolist() == [257]
    assert dataclasses.astuple(joined([Terms(torch.ones(2), torch.ones(2))] * 2))[0].tolist() == [1] * 4


TWO_PARTS = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda o, y: (o[:, :1] - y) ** 2, "a value for each pair of samples"),
        (lambda o, y: ((o[:, :1] - y) ** 2, torch.ones(len(y), len(y))), "a value for each pair of samples"),
        (lambda o, y: F.cross_entropy(o, y, reduction="none") / len(y), "another value in a batch of 3 than of 2"),
        (lambda o, y: ((o - o.mean(0)) ** 2).sum(1), "another value in a batch of 3 than of 2"),
        (lambda o, y: (o[:, 0], torch.full_like(o[:, 0], 1 / len(y))), "another value in a batch of 3 than of 2"),
        (lambda o, y: o[:, 0] * torch.rand(len(o)), "other values when it is called again"),
    ],
)
def test_a_loss_of_ones_own_gives_each_sample_its_own_value(function, said):
    outputs, labels = (
        torch.randn(9, 3),
        torch.ones(9, dtype=torch.int64),
    )  # equal: broadcasting shows in no value
    own = custom_loss("own", function, convex=False)
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=said):
        read_targets(own, outputs[:2], labels[:2], labels, "data: train")
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "function",
    [
        lambda o, y: F.cross_entropy(o, y, reduction="none"),
        lambda o, y: F.cross_entropy(o, y, reduction="none").float(),
        lambda o, y: F.cross_entropy(o, y, reduction="none")[:, None] * TWO_PARTS,
        lambda o, y: (o - o.logsumexp(1, keepdim=True)) ** 2,
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_loss_of_ones_own_may_give_as_many_values_as_there_are_samples(function, count):
    outputs, labels = 100 * torch.randn(9, 3), torch.arange(9) % 3
    own = custom_loss("own", function, convex=False)
    read_targets(own, outputs[:count], labels[:count], labels, "data: train")


def test_a_contrastive_loss_is_that_of_its_rows_and_columns():
    logits = values(5, 5)
    terms = resolve_loss("contrastive").measure(logits, labels(5))
    for place in range(5):
        row = -logits[place].log_softmax(0)[place]
        column = -logits[:, place].log_softmax(0)[place]
        assert float(terms.sums[place]) == pytest.approx(float(row + column) / 2, rel=1e-12)
    assert terms.weights.tolist() == [1] * 5


def test_a_loss_of_batches_is_not_declared_convex():
    for name in ("contrastive", "own"):
        loss = resolve_loss(name)
        assert (loss.convex, loss.rowwise, loss.coupled) == (False, False, True)
        with pytest.raises(UsageError, match=r"\(--loss-is-convex\) out"):
            resolve_loss(name, convex=True)


READINGS = {
    "shifted": (Reading(shifted=True), (N, 6, C), (N, 6)),
    "upsampled": (Reading(upsampled=True), (N, C, 2, 3), (N, 5, 7)),
    "ignoring": (Reading(ignored=2), (N, C), (N,)),
}


@pytest.mark.parametrize("name", READINGS)
def test_however_it_is_read_a_cross_entropy_is_convex_sample_by_sample(name):
    reading, shape, wanted = READINGS[name]
    loss, targets = cross_entropy(reading), labels(*wanted)
    a, b = values(*shape), values(*shape)
    first, last = (loss.measure(each, targets).sums for each in (a, b))
    for share in (0.2, 0.5, 0.9):
        between = loss.measure(torch.lerp(a, b, share), targets).sums
        assert bool((between <= torch.lerp(first, last, share) + 1e-12).all())
    assert loss.convex
    size = divided(a, targets, 2, loss.measure)
    torch.testing.assert_close(size.sums, first, rtol=1e-13, atol=1e-13)
