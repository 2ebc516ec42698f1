"""A probe for a model that cannot be run without its labels, as T5 and Whisper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import connectivity_hooks as ch

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
ROWS = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]


class Model(nn.Module):
    """Makes a second input of the labels where it is given them, and may need to."""

    def __init__(self, needs: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = nn.Linear(6, 8), nn.Embedding(3, 8), nn.Linear(8, 3)
        self.needs, self.given = needs, 0

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None and self.needs:
            raise ValueError("specify decoder inputs")
        self.given += labels is not None
        hidden = torch.relu(self.encoder(x))
        return self.head(hidden if labels is None else hidden + self.decoder(labels))


PROBES: dict[str, Any] = {
    "loader": DataLoader(ROWS, 10),
    "one batch": {"x": X, "labels": Y},
    "list": [{"x": X[:30], "labels": Y[:30]}, {"x": X[30:], "labels": Y[30:]}],
}


@pytest.mark.parametrize("kind", ["loader", "one batch", "list"])
def test_it_gets_them(kind: str) -> None:
    model = Model(needs=True)
    with ch.watch(model, PROBES[kind], every=1, conditions=["feature-rank", "dropout-stability"]) as watch:
        watch.step()
    assert watch.faults == ()
    assert {row.condition for row in watch.history} == {"feature-rank", "dropout-stability"}
    assert all(row.measured is not None for row in watch.history)
    assert model.given


def test_one_that_runs_without_is_not_given_them() -> None:
    model = Model(needs=False)
    with ch.watch(model, PROBES["loader"], every=1, conditions="feature-rank") as watch:
        watch.step()
    assert watch.faults == ()
    assert model.given == 0


def test_one_that_fails_with_them_too_says_what_it_lacks_without() -> None:
    class Failing(Model):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
            raise ValueError("without" if labels is None else "with")

    with pytest.warns(UserWarning, match="ValueError: without"):
        ch.watch(Failing(needs=True), PROBES["loader"], every=1, conditions="feature-rank").remove()
