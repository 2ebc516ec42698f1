"""What a model does with the samples of a batch in its own loss, and the samples by which that is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks.tasks.making import check_task
from connectivity_hooks.tasks.own_loss import said_before
from connectivity_hooks.tasks.telling import telling

DRAW = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, 7, (7, 5), generator=DRAW)
LENGTHS = torch.tensor([5, 5, 5, 2, 4, 1, 5])  # the first two samples hide what is done of padding
PRESENT = torch.arange(5) < LENGTHS[:, None]
LABELS = torch.randint(0, 7, (7, 5), generator=DRAW)
LEFT_OUT = LABELS.masked_fill(~PRESENT, -100)


class Tagger(nn.Module):
    """Returns the loss of every position over a batch in one of several ways.

    Args:
        over: ``labels``, an average over those that count; ``samples``, over each sample's own average; ``sum``, over
            all; ``mask``, an average over the positions of the mask, whatever their labels.
    """

    def __init__(self, over: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.over = over

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.embed(input_ids)) * 2
        if labels is None:
            return {"logits": logits}
        counts = attention_mask != 0 if self.over == "mask" else labels != -100
        each = F.cross_entropy(logits.transpose(1, 2), labels.clamp(min=0), reduction="none") * counts
        if self.over == "samples":
            return {"loss": (each.sum(1) / counts.sum(1)).mean(), "logits": logits}
        return {"loss": each.sum() / (1 if self.over == "sum" else counts.sum()), "logits": logits}


def batch(labels: Tensor = LEFT_OUT, rows: slice = slice(None)) -> dict[str, Tensor]:
    given = {"input_ids": TOKENS, "attention_mask": PRESENT.long(), "labels": labels}
    return {name: value[rows] for name, value in given.items()}


def exact(over: str, labels: Tensor) -> float:
    """Return the loss of all the data, written out position by position in float64."""
    model = Tagger(over).double()
    with torch.no_grad():
        logits = model(TOKENS, PRESENT)["logits"]
    kept = PRESENT if over == "mask" else labels != -100
    each = [[-float(logits[n, t].log_softmax(0)[labels[n, t]]) for t in range(5) if bool(kept[n, t])] for n in range(7)]
    if over == "samples":
        return sum(sum(one) / len(one) for one in each) / 7
    return sum(map(sum, each)) / sum(map(len, each))


def own_task(over: str, labels: Tensor, size: int, parted: bool = False) -> Task:
    data = [batch(labels, slice(0, 2)), batch(labels, slice(2, None))] if parted else [batch(labels)]
    loaders = (data, [batch(labels, slice(0, 2))])  # of a test split that cannot tell
    return ch.make_task(model=lambda: Tagger(over), data=loaders, loss="own", batch_size=size, device="cpu")


def evaluated(task: Task) -> ch.Evaluation:
    weights = dict(task.model().state_dict())
    return ch.evaluate(ch.Path.from_points([weights, weights]), task, points=2, refine=0)


@pytest.mark.parametrize("over", ["labels", "samples", "sum"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_batches_weigh_what_the_model_averages_over(over: str, size: int) -> None:
    task = own_task(over, LEFT_OUT, size)
    found = evaluated(task)
    assert found.curves["train"][0].loss == pytest.approx(exact(over, LEFT_OUT), rel=1e-6)
    said = {"labels": "averages over", "samples": "averages over samples", "sum": "sums over samples"}[over]
    assert any(said in note for note in task.notes) == (over != "labels")
    assert not any(said in note for note in found.notes)


def test_what_is_neither_is_said_and_of_one_batch_it_is_exact() -> None:
    task = own_task("mask", LABELS, 7)
    assert any("averages over neither the labels that count nor the samples" in note for note in task.notes)
    assert evaluated(task).curves["train"][0].loss == pytest.approx(exact("mask", LABELS), rel=1e-6)


def test_samples_of_one_length_leave_nothing_to_say() -> None:
    whole = [{**batch(LABELS), "attention_mask": torch.ones(7, 5)}]
    for over in ("labels", "samples", "mask"):
        task = ch.make_task(model=lambda over=over: Tagger(over), data=whole, loss="own", batch_size=3, device="cpu")
        assert not any("averages over" in note for note in task.notes)
        with torch.no_grad():
            logits = Tagger(over)(TOKENS, PRESENT)["logits"].double()
        expected = float(F.cross_entropy(logits.transpose(1, 2), LABELS))
        assert evaluated(task).curves["train"][0].loss == pytest.approx(expected, rel=1e-6)


def test_another_loss_is_told_where_the_first_samples_hide_it() -> None:
    split = CachedSplit("train", {"input_ids": TOKENS, "attention_mask": PRESENT.long()}, LABELS)
    task = check_task(Task(lambda: Tagger("mask"), split), Tagger("mask"))
    (note,) = [note for note in task.notes if "itself returns" in note]
    assert said_before(note, [note.replace("four", "two")])
    found = evaluated(Task(lambda: Tagger("mask"), split))
    assert any("itself returns" in note for note in found.notes)
    with_labels_left_out = Task(lambda: Tagger("mask"), CachedSplit("train", split.inputs, LEFT_OUT))
    assert not any("itself returns" in note for note in check_task(with_labels_left_out, Tagger("mask")).notes)


def test_the_least_and_the_most_of_what_counts_is_looked_at() -> None:
    inputs = {"input_ids": TOKENS, "attention_mask": PRESENT.long()}
    few = telling(CachedSplit("train", inputs, LABELS))
    assert torch.equal(few.inputs["input_ids"], TOKENS[[0, 1, 5]])
    labels = LABELS.clone()
    labels[0], labels[4, 1:] = -100, -100
    few = telling(CachedSplit("train", {"input_ids": TOKENS}, labels))
    assert torch.equal(few.targets(), labels[[0, 1, 4, 5]])  # the last for the label that the first two lack


def test_two_samples_do_where_all_are_alike() -> None:
    for inputs, targets in (
        (TOKENS, LABELS),
        (TOKENS.float(), torch.ones(7)),
        ({"input_ids": TOKENS, "attention_mask": torch.ones(7, 5)}, torch.arange(7) % 2),
    ):
        few = telling(CachedSplit("train", inputs, targets))
        assert torch.equal(few.targets(), targets[:2])
    assert len(telling(CachedSplit("train", TOKENS[:1], LEFT_OUT[:1]))) == 1


def test_samples_of_one_batch_are_looked_at() -> None:
    parts = [
        ({"input_ids": TOKENS[:3, :4], "attention_mask": torch.ones(3, 4)}, LABELS[:3, 0]),
        ({"input_ids": TOKENS[3:], "attention_mask": PRESENT[3:]}, LABELS[3:, 0]),
    ]
    few = telling(BatchedSplit("train", parts))
    assert torch.equal(few.inputs["input_ids"], TOKENS[[3, 4, 5, 6]])
