"""The one tensor a loss reads, picked from whatever a model returns."""

from __future__ import annotations

import collections
import dataclasses
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.outputs import choice, picked
from connectivity_hooks.model.running import Forward
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.making import check_task

X = torch.arange(6.0).view(2, 3)
IDS = torch.arange(6).view(2, 3)

Pair = collections.namedtuple("Pair", "scores features")


@dataclasses.dataclass
class Answer:
    loss: float
    logits: Tensor
    hidden: Tensor | None = None


@pytest.mark.parametrize(
    ("returned", "pick"),
    [
        (X, None),
        ((X,), None),
        ([X, IDS], None),
        ((IDS, X), None),
        ((X + 1, X), 1),
        ((X + 1, X), "1"),
        ({"logits": X, "hidden": X + 1}, None),
        ({"hidden": X, "logits": X + 1}, "hidden"),
        ({"ids": IDS, "other": X}, None),
        ({7: X, 8: X + 1}, 7),
        (Pair(X, X + 1), "scores"),
        (Pair(X + 1, X), 1),
        (Pair(X, None), None),
        (Answer(0.5, X, X + 1), None),
        (Answer(0.5, X + 1, X), "hidden"),
        (collections.OrderedDict(a=X + 1, b=X), "b"),
        (collections.UserDict(logits=X, loss=X + 1), None),
        ({"a": {"logits": X, "h": X + 1}, "b": [X + 2]}, "a.logits"),
        ({"a": {"logits": X + 1}, "b": [X + 2, X]}, "b.1"),
        ({"a": {"logits": X}}, None),
        ((Answer(0.5, X + 1, X),), "0.hidden"),
        ({"main": X, "states": (X + 1, X + 2)}, None),
        ({"a.b": X, "a": {"b": X + 1}}, "a.b"),
        ({"loss": X[0, 0], "scores": X}, None),
        ({"loss": X, "scores": X + 1}, "loss"),
        ({"loss": X}, None),
    ],
)
def test_what_is_meant_or_named_is_picked(returned: Any, pick: str | int | None) -> None:
    assert picked(returned, pick) is X


@pytest.mark.parametrize(
    ("returned", "pick", "words"),
    [
        ((X, X + 1), None, r"returns a tuple; say which are the outputs: output= \(--output\) takes one of 0, 1$"),
        ({"a": {"logits": X, "h": X}, "b": [X]}, None, "takes one of a.logits, a.h, b.0$"),
        ({"a": {"logits": X, "h": X}}, "logits", "no entry 'logits' .* takes one of a.logits, a.h$"),
        ({"all": [X] * 50, "x": X}, "y", "one of x, all.0, .*, all.18 and 31 more$"),
        ({"a.b": X, "c": X}, None, "takes one of a.b, c$"),
        ({"a": X, "b": X}, None, r"returns a dict; .* output= \(--output\) takes one of a, b$"),
        (OrderedDict(out=X, aux=X), None, "returns an OrderedDict; .* takes one of out, aux$"),
        ({"loss": X, "a": X, "b": X}, None, r"returns a dict; .* output= \(--output\) takes one of a, b$"),
        ({"a": X, "b": X}, "c", "has no entry 'c' that is a tensor: .* takes one of a, b$"),
        (Answer(0.5, X), "loss", "has no entry 'loss' that is a tensor: .* takes one of logits$"),
    ],
)
def test_what_cannot_be_picked_names_the_choices(returned: Any, pick: str | int | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        picked(returned, pick)
    assert "\n" not in str(error.value)


def test_outputs_of_transformers_are_picked_by_name() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    classified = outputs.SequenceClassifierOutput(loss=torch.zeros(()), logits=X, hidden_states=(X + 1,))
    assert picked(classified) is X
    encoded = outputs.BaseModelOutputWithPooling(last_hidden_state=X + 1, pooler_output=X)
    assert picked(encoded, "pooler_output") is X
    with pytest.raises(InputError, match=r"one of last_hidden_state, pooler_output$"):
        picked(encoded)


def test_a_module_is_run_under_its_own_and_under_other_weights_alike() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor, y: Tensor, sign: int = 1) -> dict[str, Tensor]:
            return {"sum": self.a(x) + sign * self.b(y), "left": x}

    model, run = Both(), Forward("sum")
    weights = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    expected = X @ weights["a.weight"].T + weights["a.bias"] + X @ weights["b.weight"].T + weights["b.bias"]
    for inputs in ((X, X), {"x": X, "y": X}, [X, X, 1]):
        assert torch.allclose(run.under(model, weights, inputs), expected)
    assert torch.equal(run(model, {"x": X, "y": X, "sign": -1}), model.a(X) - model.b(X))


def test_what_was_picked_among_several_is_said() -> None:
    assert choice({"hidden": X, "logits": X}) == (
        "the model returns hidden, logits: 'logits' is taken for its outputs; output= (--output) says otherwise"
    )
    for returned, pick in ((X, None), ({"logits": X}, None), ({"hidden": X, "logits": X}, "hidden"), ("none", None)):
        assert choice(returned, pick) is None


def test_a_task_notes_what_was_picked() -> None:
    class Two(nn.Linear):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"hidden": x, "logits": super().forward(x)}

    task = Task(lambda: Two(3, 2), CachedSplit("train", torch.randn(4, 3), torch.arange(4) % 2))
    checked = check_task(task, task.model())
    assert any("'logits' is taken" in note for note in checked.notes)
    assert checked.describe()["notes"] == list(checked.notes)
    named = dataclasses.replace(task, forward=Forward("logits"))
    assert check_task(named, named.model()).notes == ()


def test_what_a_model_returns_may_hold_itself() -> None:
    returned: dict[str, Any] = {"x": X}
    returned["again"] = returned
    assert picked(returned) is X
