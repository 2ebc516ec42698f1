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


def test_labels_that_the_model_moves_are_refused_with_the_line_that_moves_them() -> None:
    with pytest.raises(InputError, match=MOVE) as caught:
        notes_of(task_of(TOKENS))
    assert "\n" not in str(caught.value)
    prompts = TOKENS.clone()
    prompts[:, :3] = -100  # of an instruction only the answer counts
    with pytest.raises(InputError, match=MOVE):
        notes_of(task_of(prompts))


def test_labels_moved_as_the_message_says_are_taken() -> None:
    assert not notes_of(task_of(NEXT))
    blocks = torch.cat([TOKENS[:, 1:], TOKENS[:, :1]], 1)  # a corpus cut into blocks: the last token has a next one too
    assert not notes_of(task_of(blocks))


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


def test_a_task_made_by_hand_gets_no_verdict_on_labels_that_were_not_moved() -> None:
    a, b = (dict(made().state_dict()) for _ in "ab")
    b["head.bias"] = b["head.bias"] + 1
    path = Path.from_points([a, b])
    with pytest.raises(InputError, match=MOVE):
        ch.evaluate(path, task_of(TOKENS), points=2, refine=0)
    assert ch.evaluate(path, task_of(NEXT), points=2, refine=0).curves["train"][0].loss > 0
    differing = task_of(TOKENS, moves=False, factor=3.0)
    said = check_task(differing, made(moves=False, factor=3.0))
    assert any("itself returns" in note for note in ch.evaluate(path, differing, points=2, refine=0).notes)
    assert not any("itself returns" in note for note in ch.evaluate(path, said, points=2, refine=0).notes)


def test_conditions_that_compute_the_loss_say_so() -> None:
    (verdict,) = ch.check(made().eval(), task_of(TOKENS), "dropout-stability", layers="head:input")
    assert verdict.holds is None
    assert "move them in the loader" in verdict.reason
    (verdict,) = ch.check(made().eval(), task_of(NEXT), "dropout-stability", layers="head:input")
    assert verdict.holds is not None
