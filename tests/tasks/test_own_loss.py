"""The loss that a model itself returns for labels, against the one that is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths.path import Path
from connectivity_hooks.tasks import CachedSplit, Task, custom_loss
from connectivity_hooks.tasks.guessing import guess
from connectivity_hooks.tasks.making import check_task

TOKENS = torch.randint(1, 7, (12, 6), generator=torch.Generator().manual_seed(0))
NEXT = F.pad(TOKENS[:, 1:], (0, 1), value=-100)
MASK = torch.ones_like(TOKENS)


class Language(nn.Module):
    """A model that returns its own loss when it is given labels, as Transformers' do.

    Args:
        moves: It moves them by one position first.
        factor: Its loss is as many times the cross-entropy.
    """

    def __init__(self, moves: bool = True, factor: float = 1.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.up = nn.Linear(5, 8)
        self.head = nn.Linear(8, 7)
        self.moves, self.factor = moves, factor

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(torch.relu(self.up(self.embed(input_ids))))
        if labels is None:
            return {"logits": logits}
        wanted = F.pad(labels[:, 1:], (0, 1), value=-100) if self.moves else labels
        return {"loss": self.factor * F.cross_entropy(logits.transpose(1, 2), wanted), "logits": logits}


def made(**kind: Any) -> Language:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Language(**kind)


def task_of(labels: Tensor, loss: Any = None, tokens: Tensor = TOKENS, **kind: Any) -> Task:
    given = {} if loss is None else {"loss": loss}
    inputs = {"input_ids": tokens, "attention_mask": MASK}
    return Task(lambda: made(**kind), CachedSplit("train", inputs, labels), **given)


def notes_of(task: Task) -> list[str]:
    return [note for note in check_task(task, task.model()).notes if "itself returns" in note]


MOVE = r"moves 'labels' by one position itself.*pad\(labels\[\.\.\., 1:\], \(0, 1\), value=-100\)"


def next_token(model: nn.Module, labels: Tensor, rows: int = len(TOKENS)) -> float:
    """Return the loss of the next token in float64, written out token by token."""
    with torch.no_grad():
        logits = model(TOKENS[:rows], MASK[:rows])["logits"].double()
    each = [
        -float(logits[row, place].log_softmax(0)[labels[row, place + 1]])
        for row in range(rows)
        for place in range(labels.shape[1] - 1)
        if labels[row, place + 1] != -100
    ]
    return sum(each) / len(each)


def measured(task: Task, model: nn.Module) -> float:
    (batch,) = task.train.batches(100)
    with torch.no_grad():
        return float(task.loss.measure(task.forward(model, batch[0]), batch[1]).mean())


def test_labels_that_the_model_moves_are_moved_and_said() -> None:
    prompts = TOKENS.clone()
    prompts[:, :3] = -100  # of an instruction only the answer counts
    beginning = TOKENS.clone()
    beginning[:2] = -100  # the two samples that are looked at say nothing
    for labels in (TOKENS, prompts, beginning):
        task, model = check_task(task_of(labels), made()), made()
        assert any("of the next token" in note for note in task.notes)
        assert measured(task, model) == pytest.approx(next_token(model, labels), rel=1e-6)
        assert task.loss.convex
        assert task.loss.errors is not None
        count = int((labels[:, 1:] != -100).sum())
        (batch,) = task.train.batches(100)
        assert int(task.loss.errors(task.forward(model, batch[0]), batch[1]).weights.sum()) == count


def test_what_a_model_moves_is_told_where_both_ways_give_the_same() -> None:
    """Of outputs that are all 0 every label has the same loss, and so have tokens that are all the same."""

    def silent(**kind: Any) -> Language:
        model = made(**kind)
        nn.init.zeros_(model.head.weight)
        nn.init.zeros_(model.head.bias)
        return model

    for moves in (True, False):
        task = check_task(task_of(TOKENS, moves=moves), silent(moves=moves))
        assert any("of the next token" in note for note in task.notes) == moves
        same = check_task(task_of(torch.full_like(TOKENS, 3), moves=moves), made(moves=moves))
        assert any("of the next token" in note for note in same.notes) == moves


def test_labels_are_moved_where_the_model_adds_another_loss_to_that_of_the_next_token() -> None:
    task, model = check_task(task_of(TOKENS, factor=3.0), made(factor=3.0)), made(factor=3.0)
    assert measured(task, model) == pytest.approx(next_token(model, TOKENS), rel=1e-6)
    assert any("of the next token" in note for note in task.notes)
    assert len([note for note in task.notes if "itself returns" in note]) == 1


def test_inputs_in_order_are_asked_about_as_well() -> None:
    task = Task(made, CachedSplit("train", (TOKENS, MASK), TOKENS))
    checked = check_task(task, made())
    assert measured(checked, made()) == pytest.approx(next_token(made(), TOKENS), rel=1e-6)


def test_training_descends_the_loss_of_the_next_token() -> None:
    task, model = check_task(task_of(TOKENS), made()), made()
    ours = task.loss(model(TOKENS, MASK)["logits"], TOKENS)
    assert ours.item() == pytest.approx(model(TOKENS, MASK, TOKENS)["loss"].item(), rel=1e-6)
    assert torch.equal(
        *(
            torch.autograd.grad(each, model.head.bias)[0].round(decimals=6)
            for each in (ours, model(TOKENS, MASK, TOKENS)["loss"])
        )
    )


def test_what_guessing_scores_is_of_the_tokens_that_count() -> None:
    labels = TOKENS.clone()
    labels[:, 0] = 0  # never predicted
    found = guess(check_task(task_of(labels), made()).loss, CachedSplit("train", TOKENS, labels))
    counts = torch.bincount(TOKENS[:, 1:].flatten()).double()
    shares = counts[counts > 0] / counts.sum()
    assert found is not None
    assert found.loss == pytest.approx(-float((shares * shares.log()).sum()), rel=1e-12)


def test_labels_that_are_all_ignored_are_refused() -> None:
    only_first = torch.full_like(TOKENS, -100)
    only_first[:, 0] = 1  # nothing comes before it
    for labels in (torch.full_like(TOKENS, -100), only_first):
        with pytest.raises(InputError, match=r"labels are all -100.*nothing is left to measure"):
            check_task(task_of(labels), made())


def test_a_loss_of_the_users_own_is_refused_where_labels_were_not_moved() -> None:
    def each(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        counted = (targets != -100).to(outputs.dtype)
        return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none"), counted

    with pytest.raises(InputError, match=MOVE) as caught:
        check_task(task_of(TOKENS, custom_loss("each", each, convex=True)), made())
    assert "\n" not in str(caught.value)
    check_task(task_of(NEXT, custom_loss("each", each, convex=True)), made())


def test_labels_moved_in_the_loader_are_not_moved_again() -> None:
    blocks = torch.cat([TOKENS[:, 1:], TOKENS[:, :1]], 1)  # a corpus cut into blocks: the last token has a next one too
    for labels in (NEXT, blocks):
        task = check_task(task_of(labels), made())
        assert any("are the next tokens already" in note for note in task.notes)
        assert not notes_of(task_of(labels))
        with torch.no_grad():
            expected = F.cross_entropy(made()(TOKENS, MASK)["logits"].double().transpose(1, 2), labels)
        assert measured(task, made()) == pytest.approx(float(expected), rel=1e-6)


def test_a_model_that_moves_nothing_is_left_alone() -> None:
    assert not notes_of(task_of(TOKENS, moves=False))
    assert not notes_of(task_of(NEXT, moves=False))


def test_another_difference_is_a_note_with_both_losses() -> None:
    task = task_of(TOKENS, moves=False, factor=3.0)
    with torch.no_grad():
        model = task.model()
        inputs = {"input_ids": TOKENS[:2], "attention_mask": MASK[:2]}
        ours = float(F.cross_entropy(model(**inputs)["logits"].transpose(1, 2), TOKENS[:2]))
    (note,) = notes_of(task)
    assert f"{ours:.4g} and {3 * ours:.4g}" in note


def test_a_loss_of_the_users_own_is_what_they_say() -> None:
    def doubled(outputs: Tensor, targets: Tensor) -> Tensor:
        return 2 * F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")

    assert not notes_of(task_of(TOKENS, custom_loss("doubled", doubled, convex=True), moves=False))


def test_what_cannot_be_compared_is_let_by() -> None:
    class Failing(Language):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
            if labels is not None:
                raise RuntimeError("labels of another kind")
            return super().forward(input_ids, attention_mask)

    class NotFinite(Language):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
            return {**super().forward(input_ids, attention_mask), "loss": torch.tensor(torch.nan)}

    inputs = {"input_ids": TOKENS, "attention_mask": MASK}
    for kind in (Failing, NotFinite):
        assert not notes_of(Task(kind, CachedSplit("train", inputs, TOKENS)))


def test_random_numbers_are_not_drawn() -> None:
    class Drawing(Language):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
            torch.rand(1)
            return super().forward(input_ids, attention_mask, labels)

    before = torch.get_rng_state()
    task = Task(lambda: Drawing(moves=False), CachedSplit("train", {"input_ids": TOKENS, "attention_mask": MASK}, NEXT))
    model = made(moves=False)
    check_task(task, model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_task_made_by_hand_is_read_as_the_model_reads_it() -> None:
    a, b = (dict(made().state_dict()) for _ in "ab")
    b["head.bias"] = b["head.bias"] + 1
    path = Path.from_points([a, b])
    found = ch.evaluate(path, task_of(TOKENS), points=2, refine=0)
    assert found.curves["train"][0].loss == pytest.approx(next_token(made(), TOKENS), rel=1e-6)
    assert any("of the next token" in note for note in found.notes)
    said = check_task(task_of(TOKENS), made())
    assert not any("of the next token" in note for note in ch.evaluate(path, said, points=2, refine=0).notes)
    assert ch.evaluate(path, task_of(NEXT), points=2, refine=0).curves["train"][0].loss > 0
    differing = task_of(TOKENS, moves=False, factor=3.0)
    said = check_task(differing, made(moves=False, factor=3.0))
    assert any("itself returns" in note for note in ch.evaluate(path, differing, points=2, refine=0).notes)
    assert not any("itself returns" in note for note in ch.evaluate(path, said, points=2, refine=0).notes)


def test_conditions_measure_the_loss_of_the_next_token() -> None:
    for task in (task_of(TOKENS), check_task(task_of(TOKENS), made())):
        (verdict,) = ch.check(made().eval(), task, "dropout-stability", layers="head:input")
        assert verdict.holds is not None
        own = verdict.details["loss"] - verdict.measured
        assert own == pytest.approx(next_token(made(), TOKENS), rel=1e-5)


class Renamed(nn.Module):
    """A language model that returns its outputs and its loss in another form.

    Args:
        form: ``scores``, a dict with another name for the outputs; ``several``, with two beside the loss; ``tuple``,
            the loss before the outputs, as Transformers' with ``return_dict=False``; ``behind``, the loss behind them.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.inner, self.form = made(), form

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
        found = self.inner(input_ids, attention_mask, labels)
        loss, scores = found.get("loss"), found["logits"]
        if self.form == "tuple":
            return (scores,) if loss is None else (loss, scores)
        if self.form == "behind":
            return scores, loss
        more = {} if self.form == "scores" or loss is None else {"extra": scores + 1}
        return {"scores": scores, **more} if loss is None else {"loss": loss, "scores": scores, **more}


@pytest.mark.parametrize("form", ["scores", "several", "tuple", "behind"])
def test_outputs_of_any_name_are_asked_about(form: str) -> None:
    task = Task(lambda: Renamed(form), CachedSplit("train", {"input_ids": TOKENS, "attention_mask": MASK}, TOKENS))
    checked = check_task(task, Renamed(form))
    assert any("of the next token" in note for note in checked.notes)
    assert measured(checked, Renamed(form)) == pytest.approx(next_token(made(), TOKENS), rel=1e-6)
