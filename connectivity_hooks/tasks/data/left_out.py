"""Which of the named inputs a model does not take, left out of every batch and said once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from connectivity_hooks.progress import SILENT
from connectivity_hooks.tasks.arguments import names_argument, superfluous, takes_none_of
from connectivity_hooks.tasks.data.raw import RawData, Source


class LeftOut:
    """Says which named inputs are left out, of the batches of any form of data.

    Args:
        where: The first words of a note.
        model: Returns the model; None leaves nothing out.
        say: Told in a line what is left out.
    """

    def __init__(
        self,
        where: str,
        model: Callable[[], nn.Module] | None = None,
        say: Callable[[str], object] = SILENT.say,
    ) -> None:
        self._where = where
        self._model = model
        self._say = say
        self._said: set[str] = set()

    def __call__(self, inputs: Mapping[str, Any]) -> Collection[str]:
        """Return the names that are left out."""
        if self._model is None:
            return ()
        names = superfluous(self._model(), inputs)
        self._say_once(names)
        return names

    def say(self, note: str) -> None:
        """Say something else of the data."""
        self._say(note)

    def takes(self, name: str) -> bool:
        """Say whether the model's forward has an argument of that name."""
        return self._model is not None and names_argument(self._model(), name)

    def most_tokens(self) -> int | None:
        """Return how many tokens the model has embeddings for; None where it does not say."""
        asked = None if self._model is None else getattr(self._model(), "get_input_embeddings", None)
        with contextlib.suppress(Exception):  # Transformers' models without any raise
            found = asked().num_embeddings if callable(asked) else None
            return found if isinstance(found, int) else None
        return None

    def from_all(self, raw: RawData) -> RawData:
        """Return data without what is left out, of arrays that were read by now."""
        return replace(raw, train=self._from(raw.train), test=None if raw.test is None else self._from(raw.test))

    def from_columns(self, raw: RawData, main: str | None = None) -> RawData:
        """Return data whose inputs have names that the data chose, not the model's author.

        A model that takes none of these names gets the only one, or `main`, as its first argument.
        """
        raw = self.from_all(raw)
        test = None if raw.test is None else self._alone(raw.test, main)
        return replace(raw, train=self._alone(raw.train, main), test=test)

    def _from(self, source: Source) -> Source:
        if not isinstance(source, tuple) or not isinstance(source[0], Mapping):
            return source
        left_out = self(source[0])
        return {name: value for name, value in source[0].items() if name not in left_out}, source[1]

    def _alone(self, source: Source, main: str | None) -> Source:
        if self._model is None or not isinstance(source, tuple) or not isinstance(source[0], Mapping):
            return source
        inputs, targets = source
        name = next(iter(inputs)) if len(inputs) == 1 else main
        if name not in inputs or not takes_none_of(self._model(), inputs):
            return source
        self._say_once([each for each in inputs if each != name])
        return inputs[name], targets

    def _say_once(self, names: Iterable[str]) -> None:
        new = [name for name in names if name not in self._said]
        if new and self._model is not None:
            self._said |= set(new)
            forward = f"{type(self._model()).__name__}.forward"
            self._say(f"{self._where}: {', '.join(map(repr, new))} left out, {forward} does not take it")


NOTHING = LeftOut("data")
"""Leaves nothing out: no model is known."""
