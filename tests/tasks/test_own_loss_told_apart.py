"""A claim on the loss that a model itself computes, where its first samples agree with a simpler one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.loss import LOSSES, MODELS_OWN, cross_entropy, resolve_loss
from connectivity_hooks.tasks.made_up import made_up
from connectivity_hooks.tasks.making import check_task, make_task
from connectivity_hooks.tasks.telling import telling

DRAW = torch.Generator().manual_seed(0)
N, FIRST = 90, 64  # of the first 64 samples none tells
X = torch.randn(N, 5, generator=DRAW)
TOKENS = torch.randint(1, 7, (N, 6), generator=DRAW)
WEIGHTS = torch.tensor([1.0, 5.0, 25.0])

Criterion = Callable[[Tensor, Tensor], Tensor]


class Net(nn.Module):
    """A classifier or regressor (N, 5) → (N, out) with a loss of its own."""

    def __init__(self, out: int, own: Criterion) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.head = nn.Linear(5, out)
        self.own = own

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(x)
        return {"logits": logits} if labels is None else {"loss": self.own(logits, labels), "logits": logits}


class Tagger(nn.Module):
    """Maps tokens (N, 6) to logits (N, 6, out), with a loss of logits (N, out, 6)."""

    def __init__(self, out: int, own: Criterion, in_training: Criterion | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.head = nn.Embedding(7, out)
        self.own, self.in_training = own, in_training or own

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(input_ids)
        if labels is None:
            return {"logits": logits}
        own = self.in_training if self.training else self.own
        return {"loss": own(logits.transpose(1, 2), labels), "logits": logits}


def checked(model: nn.Module, name: str, inputs: Tensor, labels: Tensor, loss: str = "auto") -> Task:
    task = Task(lambda: model, CachedSplit("train", {name: inputs}, labels), loss=resolve_loss(loss))
    return check_task(task, model.eval())


def differing(task: Task) -> list[str]:
    return [note for note in task.notes if "itself returns" in note]


def late(first: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([first, labels[FIRST:]])


def weighted(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, weight=WEIGHTS)


def of_positives(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=torch.full((4,), 9.0))


def huber(outputs: Tensor, labels: Tensor) -> Tensor:
    return 2 * F.smooth_l1_loss(outputs.squeeze(-1), labels)


def test_class_weights_are_told_where_the_first_samples_are_of_one_class() -> None:
    labels = torch.arange(N) // 30
    labels = late(torch.zeros(FIRST, dtype=torch.long), labels % 2 + 1)
    task = checked(Net(3, weighted), "x", X, labels)
    assert task.loss.name == "cross-entropy"
    (note,) = differing(task)
    assert "with other labels" in note
    # written out: of two samples, the rarest class 2 would be first, then the most frequent, 0
    logits = Net(3, weighted)(X[:2])["logits"].detach().double().log_softmax(1)
    rarest, most = int(labels.bincount().argmin()), int(labels.bincount().argmax())
    each = torch.stack([-logits[0, rarest], -logits[1, most]])
    weights = WEIGHTS.double()[[rarest, most]]
    assert f"{float(each.mean()):.4g} and {float((each * weights).sum() / weights.sum()):.4g}" in note
    assert not differing(checked(Net(3, F.cross_entropy), "x", X, labels))
    assert not differing(checked(Net(3, weighted), "x", X, torch.zeros(N, dtype=torch.long)))  # it has no other class


def test_class_weights_of_positions_are_told() -> None:
    labels = late(torch.zeros(FIRST, 6, dtype=torch.long), torch.randint(0, 3, (N, 6), generator=DRAW))
    assert differing(checked(Tagger(3, weighted), "input_ids", TOKENS, labels))
    assert not differing(checked(Tagger(3, F.cross_entropy), "input_ids", TOKENS, labels))


def test_weights_of_positives_are_told_where_the_first_samples_have_none() -> None:
    labels = late(torch.zeros(FIRST, 4), (torch.rand(N, 4, generator=DRAW) < 0.5).float())
    task = checked(Net(4, of_positives), "x", X, labels)
    assert task.loss.name == "cross-entropy"
    assert not any("itself computes" in note for note in task.notes)
    assert differing(task)
    (note,) = differing(checked(Net(4, of_positives), "x", X, labels, "bce"))
    assert "with other labels" in note
    plain = checked(Net(4, F.binary_cross_entropy_with_logits), "x", X, labels)
    assert plain.loss.name == "bce"
    assert any("itself computes" in note for note in plain.notes)


def test_a_huber_loss_is_no_squared_error_where_the_first_errors_are_small() -> None:
    model = Net(1, huber)
    near = model(X)["logits"].detach()[:, 0] + 0.1
    labels = late(near[:FIRST], near + 9)
    with pytest.raises(InputError, match=f"--loss {MODELS_OWN}"):
        checked(model, "x", X, labels)
    (note,) = differing(checked(model, "x", X, labels, "mse"))
    assert "with other labels" in note
    count = len(telling(CachedSplit("train", {"x": X}, labels)))
    errors = torch.tensor([0.25, 0.5, 4, 6] * 2).double()[:count]
    ours = float(errors.square().mean())
    own = float(torch.where(errors < 1, errors.square(), 2 * errors - 1).mean())
    assert count > 2
    assert f"{ours:.4g} and {own:.4g}" in note
    squared = checked(Net(1, lambda o, y: F.mse_loss(o[:, 0], y)), "x", X, labels)
    assert squared.loss.name == "mse"


def test_labels_made_up_are_of_the_splits_classes_and_leave_out_what_is_left_out() -> None:
    targets = torch.tensor([4, 4, 4, 2, 2, 0, -100])
    few = torch.tensor([[4, -100, 4, 4], [4, 4, 4, -100]])
    made = made_up(cross_entropy(), torch.zeros(2, 4, 5), few, targets)
    assert made is not None
    assert made.tolist() == [[0, -100, 2, 0], [4, 2, 0, -100]]
    alone = made_up(cross_entropy(), torch.zeros(2, 4, 5), torch.full_like(few, -100), targets)
    assert alone is not None
    assert set(alone.flatten().tolist()) == {0, 2, 4}
    assert made_up(cross_entropy(), torch.zeros(2, 4, 5), few, torch.tensor([-100])) is None


def test_real_targets_made_up_are_near_and_far_on_both_sides() -> None:
    outputs = torch.randn(3, 2, generator=DRAW)
    made = made_up(LOSSES["mse"], outputs, torch.zeros(3, 2), torch.zeros(3, 2))
    assert made is not None
    torch.testing.assert_close((outputs - made).flatten(), torch.tensor([0.25, -0.5, 4, -6, 0.25, -0.5]))
    signs = made_up(LOSSES["bce"], outputs, torch.zeros(3, 2), torch.zeros(3, 2))
    assert signs is not None
    assert signs.unique().tolist() == [0, 1]
    shares = made_up(cross_entropy(), outputs, torch.zeros(3, 2), torch.zeros(3, 2))
    assert shares is not None
    torch.testing.assert_close(shares.sum(1), torch.ones(3))


def test_samples_with_other_labels_are_looked_at() -> None:
    classes = torch.tensor([1, 1, 1, 0, 0, 2, 1])
    assert telling(CachedSplit("train", X[:7], classes)).targets().tolist() == [1, 1, 2]
    values = torch.tensor([0.0, 1, 7, 2, -3, 1, 1])
    assert telling(CachedSplit("train", X[:7], values)).targets().tolist() == [0, 1, 7, -3]


def moved(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :, :-1], labels[:, 1:])


@pytest.mark.parametrize("loss", ["auto", "own"])
def test_labels_that_are_the_tokens_of_their_own_position_are_said(loss: str) -> None:
    def said(model: nn.Module, labels: Tensor) -> list[str]:
        kind: dict[str, Any] = {"model": lambda: model, "data": [{"input_ids": TOKENS, "labels": labels}]}
        task = make_task(**kind, loss=loss, device="cpu")
        return [note for note in task.notes if "how well tokens are repeated" in note]

    assert said(Tagger(7, F.cross_entropy, in_training=moved), TOKENS)
    assert not said(Tagger(7, moved), TOKENS)
    assert not said(Tagger(7, F.cross_entropy), F.pad(TOKENS[:, 1:], (0, 1), value=-100))
    assert not said(Tagger(7, F.cross_entropy), TOKENS % 3)
