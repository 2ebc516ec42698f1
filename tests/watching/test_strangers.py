"""A probe, a model or a logger that fails in any way: said in one line, and no training ends of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError

X, Y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
ENDINGS = [SystemExit(3), GeneratorExit(), RuntimeError("boom")]


class Ending(nn.Sequential):
    """Trains, and fails wherever it is only looked at."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise self.error
        return super().forward(x)


def said_in(model: nn.Module, **options: object) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with ch.watch(model, probe=(X, Y), every=1, conditions=["separability"], **options) as watch:
            for _ in range(3):
                watch.step()
    assert watch.steps == 3
    return [str(warning.message) for warning in said]


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
def test_a_model_that_ends_the_program_ends_no_training(error: BaseException) -> None:
    said = said_in(Ending(error))
    assert any("do not fit Ending" in line for line in said)
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("log", [lambda *_: sys.exit(2), lambda *_: 1 / 0], ids=["exits", "raises"])
def test_a_logger_that_ends_the_program_ends_no_training(log: Callable[..., object]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    assert [line for line in said_in(model, log=log) if "a logger failed" in line] != []


def test_a_person_s_interruption_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        said_in(Ending(KeyboardInterrupt()))


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
def test_a_probe_loader_that_fails_is_said_when_it_is_read(error: BaseException) -> None:
    class Loader:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            yield X, Y
            raise error

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(InputError, match="probe: fails while it gives its batches"):
        ch.watch(model, probe=Loader(), every=1, conditions=["separability"])
