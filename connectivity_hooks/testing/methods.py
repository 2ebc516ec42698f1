"""What every method has in common: a name, a manual, options that are checked."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch

from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import make_options, option_fields
from connectivity_hooks.errors import UsageError


class MethodSuite:
    """Checks a method's name, documentation and options; `options` are the values the other checks run with."""

    options: ClassVar[dict[str, object]] = {}

    def method(self) -> type[Method]:
        """Return the class under test."""
        raise TypeError(f"{type(self).__name__}: name the class under test")

    def make(self, seed: int = 0) -> Any:
        """Return an instance with the suite's options."""
        kind = self.method()
        return kind(make_options(kind.Options, self.options, kind.name), seed=seed)

    def test_name_and_manual(self) -> None:
        """The name can be typed, and the docstring says in its first line what the method is."""
        kind = self.method()
        assert re.fullmatch(r"[a-z][a-z0-9-]*", kind.name), f"name {kind.name!r}: expected lower-case words and dashes"
        assert kind.__doc__ is not None, "a method's docstring is its manual"
        assert kind.summary().endswith("."), "the docstring starts with a sentence"

    def test_options_are_explained_frozen_and_checked(self) -> None:
        """Every option has help, a default within its bounds, and refuses what is beyond them."""
        kind = self.method()
        assert kind.Options.__dataclass_params__.frozen, "Options must be frozen"  # type: ignore[attr-defined]
        for field in option_fields(kind.Options):
            assert field.help.endswith("."), f"option {field.name}: expected a sentence of help"
            field.parse(field.default, f"--{kind.name}.{field.name}")
            for sign, bound in field.limits.items():
                beyond = bound - 1 if sign in ("≥", ">") else bound + 1
                assert _refused(kind, {field.name: beyond}), f"option {field.name}: {beyond} should be refused"
        assert _refused(kind, {"no_such_option": 1})
        assert dataclasses.is_dataclass(kind.Options)


@contextmanager
def global_random_state_kept() -> Iterator[None]:
    """Assert that the block leaves every global random state as it was."""
    before = (torch.get_rng_state(), _numpy_state(), random.getstate())
    yield
    assert torch.equal(before[0], torch.get_rng_state()), "the global state of torch's generator changed"
    assert before[1] == _numpy_state(), "the global state of numpy's generator changed"
    assert before[2] == random.getstate(), "the global state of Python's generator changed"


def _numpy_state() -> str:
    return repr(np.random.get_state())


def _refused(kind: type[Method], values: dict[str, object]) -> bool:
    try:
        make_options(kind.Options, values, kind.name)
    except UsageError:
        return True
    return False
