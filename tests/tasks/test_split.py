"""Splits of any inputs: in memory, as batches, streamed; in order and shuffled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.tasks.batched import BatchedSplit, joined
from connectivity_hooks.tasks.split import CachedSplit, Drawn, Split
from connectivity_hooks.tasks.streamed import StreamedSplit

N = 23
X, Y = torch.arange(2.0 * N).view(N, 2), torch.arange(N)
CPU = torch.device("cpu")


def batches() -> list[Batch]:
    return [({"x": X[rows], "deep": (X[rows, :1], 3)}, Y[rows]) for rows in torch.arange(N).split(7)]


SPLITS: dict[str, Callable[[], Split]] = {
    "cached": lambda: CachedSplit("train", {"x": X, "deep": (X[:, :1], 3)}, Y),
    "batched": lambda: BatchedSplit("train", batches()),
    "streamed": lambda: StreamedSplit("train", batches(), CPU, torch.float32),
}


@pytest.fixture(params=SPLITS)
def split(request: pytest.FixtureRequest) -> Split:
    return SPLITS[request.param]()


def rows_of(drawn: list[Drawn]) -> torch.Tensor:
    for rows, inputs, targets in drawn:
        assert torch.equal(inputs["x"], X[rows])
        assert torch.equal(inputs["deep"][0], X[rows, :1])
        assert inputs["deep"][1] == 3
        assert torch.equal(targets, Y[rows])
    return torch.cat([each.rows for each in drawn])


def test_an_epoch_has_every_sample_once_and_an_order_of_its_own(split: Split) -> None:
    orders = [rows_of(list(split.shuffled(4, seed, epoch=epoch))) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(torch.equal(order.sort().values, Y) for order in orders)
    assert len({tuple(order.tolist()) for order in [*orders, Y]}) == 4
    assert torch.equal(rows_of(list(split.shuffled(4, 0, epoch=1))), orders[1])
    assert max(len(each.rows) for each in split.shuffled(4, 0)) == 4


def test_a_training_is_resumed_inside_an_epoch(split: Split) -> None:
    whole = [each.rows for each in split.shuffled(4, 5, epoch=3)]
    rest = [each.rows for each in split.shuffled(4, 5, epoch=3, start=2)]
    assert torch.equal(torch.cat(rest), torch.cat(whole[2:]))
    assert not list(split.shuffled(4, 5, start=len(whole)))


def test_a_generator_goes_on_from_epoch_to_epoch(split: Split) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (rows_of(list(split.shuffled(4, generator))) for _ in range(2))
    assert not torch.equal(first, second)
    generator.manual_seed(0)
    assert torch.equal(rows_of(list(split.shuffled(4, generator))), first)


def test_what_is_in_memory_is_drawn_by_one_randperm() -> None:
    """Trainings that were made before are found again bit for bit."""
    ours, plain = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    split = SPLITS["cached"]()
    for _ in range(2):
        order = torch.randperm(N, generator=plain)
        found = [each.rows for each in split.shuffled(5, ours)]
        assert all(torch.equal(a, b) for a, b in zip(found, order.split(5), strict=True))
    stream = SPLITS["streamed"]()
    expected = [torch.randperm(len(y), generator=plain) + int(y[0]) for _, y in batches()]
    assert torch.equal(torch.cat([each.rows for each in stream.shuffled(50, ours)]), torch.cat(expected))


def test_shuffling_leaves_the_global_generator_and_the_samples_alone(split: Split) -> None:
    state = torch.random.get_rng_state()
    for _, inputs, targets in split.shuffled(4, 0):
        inputs["x"].zero_()
        targets.zero_()
    assert torch.equal(torch.random.get_rng_state(), state)
    rows_of(list(split.shuffled(4, 0)))


def test_a_labelled_split_gives_its_targets_to_the_model_too(split: Split) -> None:
    labelled = split.labelled()
    for each in (labelled, labelled.head(9), labelled.sample(9, 0)):
        for inputs, targets in each.batches(4):
            assert torch.equal(inputs["labels"], targets)
            inputs["labels"].fill_(-1)
            assert int(targets.min()) >= 0
    assert torch.equal(labelled.targets(), Y)
    assert "labels" not in next(iter(split.batches(4)))[0]


def test_batches_are_joined_where_they_can_be() -> None:
    whole = joined("train", batches())
    assert isinstance(whole, CachedSplit)
    assert torch.equal(whole.inputs["x"], X)
    padded = joined("train", [(X[:5], Y[:5]), (X[:4, :1], Y[:4])])
    assert isinstance(padded, BatchedSplit)
    assert [tuple(inputs.shape) for inputs, _ in padded.batches(3)] == [(3, 2), (2, 2), (3, 1), (1, 1)]
    for again, message in (
        ([(X[:5], X[:5]), (X[:4, :1], X[:4, :1])], r"targets .* shapes \(1,\), \(2,\); expected one"),
        ([({"a": X}, Y), ({"b": X}, Y)], "unequal entries, a and b"),
        ([(X, Y), ((X, X), Y)], "unequal entries, a tensor and 0, 1"),
        ([], "has no samples"),
    ):
        with pytest.raises(InputError, match=message):
            joined("train", again)


def test_a_stream_whose_inputs_are_exchanged_at_a_later_pass_is_refused() -> None:
    class Exchanging:
        passes = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.passes += 1
            yield ((X, X + 1) if self.passes == 1 else (X + 1, X)), Y

    split = StreamedSplit("train", Exchanging(), CPU, torch.float32)
    with pytest.raises(InputError, match="other inputs at every pass"):
        list(split.batches(4))


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(InputError, match="train has 23 inputs and 22 targets"):
        CachedSplit("train", X, Y[1:])
    with pytest.raises(InputError, match="a: 23, b: 22"):
        CachedSplit("train", {"a": X, "b": Y[1:]}, Y)
