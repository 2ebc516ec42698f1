"""The handle of a watched training: counts steps, checks when it is due, records what it finds."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from connectivity_hooks.contracts.condition import Condition, Verdict
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.watching.averages import AVERAGE
from connectivity_hooks.watching.conditions import answers
from connectivity_hooks.watching.faults import Faults
from connectivity_hooks.watching.history import Row, row_of
from connectivity_hooks.watching.history_file import HistoryFile
from connectivity_hooks.watching.loggers import Log, scalars
from connectivity_hooks.watching.looks import Look
from connectivity_hooks.watching.saving import Saver
from connectivity_hooks.watching.schedule import Clock, Event, EveryEpochs, Schedule
from connectivity_hooks.watching.state import FORMAT, counted_in
from connectivity_hooks.watching.stopwatch import Stopwatch, finish_queued_work
from connectivity_hooks.watching.undisturbed import undisturbed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Watch:
    """A watched training; made by `connectivity_hooks.watch`.

    Call `step` after every optimizer step and `epoch` after every epoch. In a ``with`` block, or by `close`, the last
    check is made, hooks are taken off and the summary is written. Of several processes only the first does anything.

    Attributes:
        verdicts: What the last check found.
    """

    def __init__(
        self,
        look: Look | None,
        conditions: Sequence[Condition],
        schedule: Schedule,
        *,
        weights: str,
        sinks: Sequence[Log],
        folder: pathlib.Path | None,
        saver: Saver | None,
        faults: Faults,
        at_start: bool,
        at_end: bool,
    ) -> None:
        self.verdicts: tuple[Verdict, ...] = ()
        self._look = look
        self._conditions = conditions
        self._schedule = schedule
        self._weights = weights
        self._sinks = sinks
        self._folder = folder
        self._file = None if folder is None else HistoryFile(folder)
        self._saver = saver
        self._faults = faults
        self._at_start = at_start
        self._at_end = at_end
        self._clock = Clock()
        self._stopwatch = Stopwatch()
        self._rows: list[Row] = []
        self._statuses: dict[str, str] = {}
        self._checked_at: int | None = None
        self._due = False
        self._closed = look is None
        with self._stopwatch.running():
            for fault in [] if look is None else look.first_faults():
                faults.say(fault)

    @property
    def steps(self) -> int:
        """Optimizer steps counted, over all runs of this training."""
        return self._clock.step

    @property
    def epochs(self) -> int:
        """Epochs counted."""
        return self._clock.epoch

    @property
    def seconds(self) -> float:
        """Seconds of `elapsed` that watching took: the host's; what hooks make a device do is not in it."""
        return self._now().spent

    @property
    def elapsed(self) -> float:
        """Seconds since the training began, over all its runs."""
        return self._now().elapsed

    @property
    def history(self) -> tuple[Row, ...]:
        """Every verdict found, in order."""
        return tuple(self._rows)

    @property
    def faults(self) -> tuple[str, ...]:
        """What went wrong, a line each."""
        return tuple(self._faults.lines)

    def step(self, targets: Tensor | Sequence[Tensor] | None = None) -> None:
        """Count an optimizer step, and check if it is due.

        Args:
            targets: In mode ``training``: the targets of the forward passes since the last step, in one tensor or in a
                list of one for each pass.
        """
        self._clock.step += 1
        if self._look is None or self._closed:
            return
        with self._stopwatch.running(), self._faults.caught("this step's passes are left out"):
            self._look.stepped(targets, self._clock.step)
        self._act("step")

    def epoch(self) -> None:
        """Count an epoch that ended, and check if it is due."""
        self._clock.epoch += 1
        self._act("epoch")

    def check(self) -> tuple[Verdict, ...]:
        """Check now, and return a verdict for every condition and layer; nothing on other processes than the first."""
        if self._look is None or self._closed:
            return ()
        finish_queued_work(self._look.model)
        before = self._stopwatch.spent
        with self._stopwatch.running():
            self.verdicts = self._answers(self._look)
        with self._stopwatch.running():
            self._record(self.verdicts)
        self._due, self._checked_at = False, self._clock.step
        self._schedule.done(self._now(), self._stopwatch.spent - before)
        self._faults.say_invalid(self.verdicts, self._clock.step)
        return self.verdicts

    def summary(self) -> str:
        """Return a table: for each condition and layer the first and last figure, and since when its verdict stands."""
        from connectivity_hooks.watching.summary import summary_table

        return summary_table(self._rows, self._now())

    def plot(self) -> Figure:
        """Return a figure: what was measured over the steps, a panel for each condition, with its threshold."""
        from connectivity_hooks.watching.summary import history_figure

        return history_figure(self._rows)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on; JSON-ready."""
        now = self._now()
        return {
            "format": FORMAT,
            "step": now.step,
            "epoch": now.epoch,
            "elapsed": now.elapsed,
            "spent": now.spent,
            "statuses": dict(self._statuses),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken: counters and history continue, rows of later steps are dropped.

        Raises:
            InputError: It is no state of a watch.
        """
        counted = counted_in(state)
        self._stopwatch.go_on(counted.elapsed, counted.spent)
        self._clock.step, self._clock.epoch = counted.step, counted.epoch
        self._statuses = dict(state["statuses"])
        self._checked_at = None
        if self._file is not None and self._look is not None:
            with self._faults.caught("the history found cannot be gone on with"):
                self._rows = self._file.resume(self._clock.step)
            self._checked_at = self._rows[-1].step if self._rows else None

    def go_on(self, state: object, *, step: int, epoch: int) -> None:
        """Go on at a step of which the training's own checkpoint tells; for hosts that keep the state in it.

        Args:
            state: What `state_dict` returned, if it is in the checkpoint. Where it is missing or damaged, the counters
                begin at `step` and `epoch`, and the time at 0; a damaged one is a fault.
            step: Optimizer steps taken, by the training's own count, which is the one that holds.
            epoch: Epochs ended, likewise.
        """
        counted = {"step": step, "epoch": epoch}
        if state is not None:
            with self._faults.caught("what the checkpoint holds of the watch cannot be used, its counters begin anew"):
                counted_in(state)
                self.load_state_dict({**state, **counted})  # type: ignore[dict-item]
                return
        self.load_state_dict({**self.state_dict(), **counted, "elapsed": 0.0, "spent": 0.0, "statuses": {}})

    def last_check(self, *, epoch_ends: bool = False) -> None:
        """Make the last check now: no step follows, and the weights may be exchanged before `close`.

        Args:
            epoch_ends: `epoch` is still to come, and may be when a check is due; it is then left to that.
        """
        if self._closed or self._look is None or (epoch_ends and isinstance(self._schedule, EveryEpochs)):
            return
        with self._faults.caught("the last check"):
            worth = self._look.ready() or self._checked_at is None
            self._check_and_save("end", wanted=self._at_end and worth and 0 < self._clock.step != self._checked_at)

    def close(self, *, exchanged: bool = False) -> None:
        """Make the last check, take hooks off, and write summary and pictures. A second time does nothing.

        Args:
            exchanged: The weights are no longer those of the last step: no check is made of them, and it is said if one
                was to be made.
        """
        if self._closed or self._look is None:
            return
        self._name_what_never_came()
        if not exchanged:
            self.last_check()
        elif self._at_end and self._clock.step != self._checked_at:
            self._faults.say(
                f"step {self._clock.step}, the last, is not checked: its weights were exchanged for others"
            )
        self.remove()

    def remove(self) -> None:
        """Take hooks off and write summary and pictures, without a last check."""
        if self._closed or self._look is None:
            return
        self._closed = True
        with self._faults.caught("hooks could not be taken off"):
            self._look.remove()
        if self._file is not None:
            with self._faults.caught("the history was not written"):
                self._file.close()
        if self._folder is not None and self._rows:
            with self._stopwatch.running(), self._faults.caught("the summary was not written"):
                from connectivity_hooks.watching.summary import write_summary

                write_summary(self._folder, self._rows, self._now())

    def __enter__(self) -> Watch:
        if self._clock.step == 0:
            self._act("start")
            self._due = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.remove()

    def _act(self, event: Event) -> None:
        if self._look is None or self._closed:
            return
        with self._faults.caught("a check"):
            self._due |= self._schedule.due(self._now(), event) or (event == "start" and self._at_start)
            self._check_and_save(event, wanted=self._due and self._look.ready())

    def _check_and_save(self, event: Event, *, wanted: bool) -> None:
        before = dict(self._statuses)
        if wanted:
            self.check()
        changed = bool(before) and before != self._statuses
        if self._saver is not None:
            with self._stopwatch.running(), self._faults.caught("a checkpoint was not saved"):
                if self._saver.wanted(self._now(), event, checked=wanted, changed=changed):
                    self._saver.save(self._now(), self.verdicts if wanted else ())

    def _answers(self, look: Look) -> tuple[Verdict, ...]:
        found: tuple[Verdict, ...] = ()
        seen: list[Observation] = []

        def observe() -> Observation:
            seen.append(look.observation())
            return seen[0]

        with self._faults.caught("a check"), undisturbed(look.model):
            found = answers(self._conditions, observe, self._clock.step, strict=self._faults.strict)
        for remark in seen[0].remarks() if seen else ():
            self._faults.remark(remark)
        look.checked()
        return found

    def _record(self, verdicts: Sequence[Verdict]) -> None:
        now = self._now()
        rows = [row_of(verdict, now, self._weights) for verdict in verdicts]
        self._rows += [row if row.condition == AVERAGE else dataclasses.replace(row, details={}) for row in rows]
        self._statuses = {f"{row.condition}/{row.layer}": row.status for row in rows}
        self._write(rows)
        for sink in self._sinks:
            with self._faults.caught("a logger failed"):
                sink(scalars(verdicts, now), now.step)

    def _write(self, rows: Sequence[Row]) -> None:
        if self._file is None:
            return
        with self._faults.caught("the history was not written"):
            self._file.append(rows)
        while self._file.news:
            self._faults.say(self._file.news.pop(0))

    def _name_what_never_came(self) -> None:
        if self._clock.step == 0 and self._checked_at is None:
            self._faults.say("no step was counted; call watch.step() after every optimizer step")
        elif isinstance(self._schedule, EveryEpochs) and self._clock.epoch == 0:
            self._faults.say("the schedule counts epochs and none ended; call watch.epoch() after every epoch")

    def _now(self) -> Clock:
        self._clock.elapsed = self._stopwatch.elapsed
        self._clock.spent = self._stopwatch.spent + (0.0 if self._look is None else self._look.seconds)
        return self._clock
