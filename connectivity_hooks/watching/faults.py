"""What goes wrong while a training is watched: said once, in one line, and the training goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connectivity_hooks.contracts.condition import Verdict
from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.strangers import is_interruption
from connectivity_hooks.warning import warn_unraised


class Faults:
    """Says each fault once.

    Args:
        strict: Raise instead.

    Attributes:
        lines: What was said, in order.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.lines: list[str] = []
        self._remarks: list[str] = []

    def say(self, line: str, when: str = "") -> None:
        """Warn of a fault unless it was said before; `when` is no part of what makes it the same.

        Raises:
            InputError: Faults are to be raised.
        """
        if self.strict:
            raise InputError(line + when)
        if line not in self.lines:
            self.lines.append(line)
            warn_unraised(f"watch: {line}{when}; the training goes on")

    def remark(self, line: str) -> None:
        """Warn of what is no fault, once, also where faults are raised."""
        if line not in self._remarks:
            self._remarks.append(line)
            warn_unraised(f"watch: {line}")

    def say_invalid(self, verdicts: Sequence[Verdict], step: int) -> None:
        """Say what could not be measured."""
        for verdict in verdicts:
            if verdict.holds is None:
                place = verdict.condition if verdict.layer is None else f"{verdict.condition}: {verdict.layer}"
                if verdict.measured is not None:  # measured, and too little to tell: nothing went wrong
                    self.remark(f"{place}: {verdict.reason}")
                    continue
                self.say(f"{place} cannot be measured: {verdict.reason}", f" (step {step})")

    @contextmanager
    def caught(self, doing: str) -> Iterator[None]:
        """Say what goes wrong in the block, and go on after it: ``sys.exit()`` in a logger, too, ends no training."""
        try:
            yield
        except BaseException as error:
            if self.strict or is_interruption(error):
                raise
            line = f"{doing}: {one_line(error)}"
        else:
            return
        self.say(line)
