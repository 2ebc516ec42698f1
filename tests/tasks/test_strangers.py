"""Code of a stranger's that fails, ends the program or hands back what cannot be measured: one line each."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.augmenting import resolve_augment
from connectivity_hooks.tasks.data import callables
from connectivity_hooks.tasks.loss import LOSSES, check_probabilities, custom_loss
from connectivity_hooks.tasks.making import check_task, make_task
from connectivity_hooks.tasks.split import CachedSplit
from connectivity_hooks.tasks.task import Task

INPUTS, TARGETS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


class Own(BaseException):
    """A stranger's own, which `except Exception` does not catch."""


ENDINGS = [RuntimeError("boom"), SystemExit(3), GeneratorExit(), MemoryError(), Own("boom")]


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object, **__: object) -> Any:
        raise error

    return function


def task_of(factory: Callable[[], nn.Module]) -> Task:
    return Task(factory, CachedSplit("train", INPUTS, TARGETS))


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
def test_whatever_is_raised_is_one_line(error: BaseException) -> None:
    with pytest.raises(InputError, match=r"^this fails: ") as caught, guarded_call("this fails"):
        raise error
    assert "\n" not in str(caught.value)


def test_interruptions_pass() -> None:
    with pytest.raises(KeyboardInterrupt), guarded_call("this fails"):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, lambda *_: raising(SystemExit(5))())
    try:
        with pytest.raises(SystemExit), guarded_call("this fails"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
@pytest.mark.parametrize("method", ["__init__", "to", "train"])
def test_a_model_that_cannot_be_made(method: str, error: BaseException) -> None:
    broken = type("Broken", (nn.Linear,), {method: raising(error)})
    with pytest.raises(InputError, match="cannot be made"):
        task_of(lambda: broken(3, 3)).model()


def test_a_model_without_values() -> None:
    with pytest.raises(InputError, match="weight is on the meta device"):
        task_of(lambda: nn.Linear(3, 3, device="meta")).model()
    model = nn.BatchNorm1d(3)
    model.running_mean = torch.zeros(3, device="meta")
    with pytest.raises(InputError, match="running_mean is on the meta device"):
        task_of(lambda: model).model()


class Later(nn.Linear):
    """Fails, or returns something else, on more than three samples."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__(3, 3)
        self.what = what

    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        return self.what(out) if len(x) > 3 else out


class Sub(Tensor):
    """A class of tensor that may compute anything."""


UNFIT: dict[str, Callable[[Tensor], Any]] = {
    "int64": lambda out: out.long(),
    "bool": lambda out: out > 0,
    "complex": lambda out: out.to(torch.complex64),
    "sparse": lambda out: out.to_sparse(),
    "nested": lambda out: torch.nested.nested_tensor([out, out]),
    "class": lambda out: out.as_subclass(Sub),
    "meta": lambda out: out.to("meta"),
}


@pytest.mark.parametrize("what", [*UNFIT.values(), *map(raising, ENDINGS)], ids=[*UNFIT, *map(repr, ENDINGS)])
def test_a_forward_that_fails_on_a_larger_batch(what: Callable[[Tensor], Any]) -> None:
    with (
        SideBySide(Later(what).eval(), INPUTS[:2]) as passes,
        pytest.raises(InputError, match=r"the model \(Later\) on a batch of inputs \(6, 3\)"),
    ):
        list(passes.outputs([(INPUTS, TARGETS)]))


@pytest.mark.parametrize("what", UNFIT.values(), ids=UNFIT)
def test_outputs_that_are_not_plain(what: Callable[[Tensor], Any]) -> None:
    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return what(super().forward(x))

    task = task_of(lambda: Model(3, 3))
    with pytest.raises(InputError, match="the model returned a"):
        check_task(task, task.model())


@pytest.mark.parametrize("what", [*UNFIT.values(), *map(raising, ENDINGS)], ids=[*UNFIT, *map(repr, ENDINGS)])
def test_losses_that_are_not_plain(what: Callable[[Tensor], Any]) -> None:
    def function(outputs: Tensor, targets: Tensor) -> Any:
        return what(F.cross_entropy(outputs, targets, reduction="none"))

    with pytest.raises(InputError, match="loss own"):
        custom_loss("own", function, convex=False).measure(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))


def test_outputs_of_other_shape_at_a_later_batch_do_not_fit_the_loss() -> None:
    with pytest.raises(InputError, match="loss mse"):
        LOSSES["mse"].measure(torch.zeros(2, 1), torch.zeros(2, 3))


@pytest.mark.parametrize(("loss", "value"), [("cross-entropy", -0.5), ("bce", -0.5), ("bce", 1.5)])
def test_targets_outside_which_a_loss_is_not_convex(loss: str, value: float) -> None:
    targets = torch.full((6, 3), 1 / 3)
    check_probabilities(loss, targets, "data: train")
    targets[5, 2] = value
    task = dataclasses.replace(
        task_of(lambda: nn.Linear(3, 3)), train=CachedSplit("train", INPUTS, targets), loss=LOSSES[loss]
    )
    with pytest.raises(InputError, match=f"data: train targets lie in .* loss {loss} expects"):
        check_task(task, task.model())
    with pytest.raises(InputError):
        check_probabilities(loss, targets * float("nan"), "data: train")


def test_numbers_too_large_for_the_type_are_the_data_s_fault() -> None:
    split = CachedSplit("train", INPUTS.double() * 1e300, TARGETS)
    with pytest.raises(InputError, match="data: train holds numbers too large for float32"):
        split.to(torch.device("cpu"), torch.float32)


def test_the_meta_device_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--device meta"):
        make_task(model="torch.nn:Identity", data="digits", device="meta")


class Loader:
    def __init__(self, batches: Callable[[], Iterator[Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self._batches()


class Sized(Loader):
    def __len__(self) -> int:
        return 2


def held(loader: object) -> Any:
    return callables.of_loaders((loader, None), "data.py:make", 10**9).train


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
def test_a_loader_that_fails_later(error: BaseException) -> None:
    def batches() -> Iterator[Any]:
        yield INPUTS, TARGETS
        raise error

    with pytest.raises(InputError, match=r"data.py:make: fails while it gives its batches"):
        held(Loader(batches))


@pytest.mark.parametrize(
    "inputs",
    [
        INPUTS.to_sparse(),
        torch.nested.nested_tensor([INPUTS, INPUTS]),
        INPUTS.to("meta"),
        INPUTS.as_subclass(Sub),
        INPUTS.to(torch.complex64),
        torch.zeros(1, 1).expand(6, 10**15),
    ],
    ids=["sparse", "nested", "meta", "class", "complex", "expanded"],
)
def test_batches_that_cannot_be_held(inputs: Tensor) -> None:
    with pytest.raises(InputError, match=r"data.py:make: a batch"):
        held(Loader(lambda: iter([(inputs, TARGETS)])))


def test_an_endless_loader_with_a_length_ends_there() -> None:
    with pytest.warns(UserWarning, match="more than the 2 batches of its length"):
        inputs, _ = held(Sized(lambda: itertools.repeat((INPUTS, TARGETS))))
    assert torch.equal(inputs, torch.cat([INPUTS, INPUTS]))


@pytest.mark.parametrize("rows", [0, 6])
def test_an_endless_loader_without_a_length_is_refused(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callables, "_MOST_SAMPLES", 100)
    with pytest.raises(InputError, match="does not end"):
        held(Loader(lambda: itertools.repeat((INPUTS[:rows], TARGETS[:rows]))))


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
def test_a_check_of_a_model_that_fails_on_a_larger_batch(error: BaseException) -> None:
    model = nn.Sequential(nn.Linear(3, 3), Later(raising(error)))
    split = CachedSplit("train", INPUTS, TARGETS)
    observation = Observation(model, split, LOSSES["cross-entropy"], ["0"], batch_size=6)
    with pytest.raises(InputError, match=r"the model \(Sequential\) on a batch of inputs \(6, 3\)"):
        observation.features("0")


def test_a_loss_that_is_nan_is_refused_before_anything_is_computed() -> None:
    loss = custom_loss("own", lambda outputs, targets: outputs.sum(1) * float("nan"), convex=False)
    task = dataclasses.replace(task_of(lambda: nn.Linear(3, 3)), loss=loss)
    with pytest.raises(InputError, match="loss own: is NaN"):
        check_task(task, task.model())


def test_an_augmentation_that_fails_later_or_writes_is_guarded(tmp_path: pathlib.Path) -> None:
    (tmp_path / "own.py").write_text(
        "import sys\n\n\ndef make():\n    return lambda x: sys.exit(3) if len(x) > 3 else x.mul_(2)\n"
    )
    augment = resolve_augment(f"{tmp_path / 'own.py'}:make")
    assert augment is not None
    few = INPUTS[:2].clone()
    assert torch.equal(augment(few), 2 * INPUTS[:2])
    assert torch.equal(few, INPUTS[:2])
    with pytest.raises(InputError, match=r"fails on inputs of shape \(6, 3\): SystemExit: 3"):
        augment(INPUTS)
