"""Processes that work on one pair together: what one knows is shared, what all compute is summed, one fails for all.

``python -m connectivity_hooks`` joins the team that ``torchrun`` started; a command that can be worked on together
begins it. Everything else, and every process alone, has the team of one, which touches nothing of torch.distributed.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from connectivity_hooks.errors import ConnectivityError, InputError, UsageError, one_line
from connectivity_hooks.processes import Place, started_place, take_place

T = TypeVar("T")

_FAILED, _STATUS, _LEFT = "failed", "status", "left"

_SOON, _LATE = 0.002, 0.05
"""Seconds between two questions to the store: few at first, since the answer often comes at once, then more."""

_WATCH = 0.25
"""Seconds between two looks whether another process failed: nobody waits longer for the end than that."""

_GRACE = 15.0
"""Seconds in which a process ends by itself once another failed: a pass or a communication has to come back first."""

_SILENT = 120.0
"""Seconds after which a process without a sign of life is taken to be gone; torchrun ends the others much sooner."""

_WORDS = 5.0
"""Seconds in which a process that failed keeps the store for the others, and these wait for its status."""


class OtherFailed(ConnectivityError):
    """Another process failed, and says why itself."""


class Team:
    """Several processes of one program, or the only one.

    Args:
        place: Which process this is.
        store: Keys and values that all of them see; None in a process alone.

    Attributes:
        rank: Of this process, from 0.
        count: Of processes.
        refusal: What was last raised on all of them together.
    """

    def __init__(self, place: Place, store: Any = None) -> None:
        self._place, self._store = place, store
        self.rank, self.count = place.rank, place.count
        self.refusal: ConnectivityError | None = None
        self._ending = threading.Event()
        self._group, self._asked = False, 0
        self._pulses: dict[int, tuple[int, float]] = {}
        self._lost: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes, to disk and terminal."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device of this process for one named on the command line.

        Raises:
            UsageError: It is one GPU for all of them, or there are fewer GPUs than processes.
        """
        if self.count == 1 or name.split(":")[0] not in ("auto", "cuda") or not torch.cuda.is_available():
            return name
        if ":" in name:
            raise UsageError(f"--device {name}: {self.count} processes take a GPU each; say cuda")
        if self._place.local >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise UsageError(
                f"--device {name}: this machine has {found} GPUs, and process {self._place.local + 1} on it none; "
                f"start {found} processes on it, or say --device cpu"
            )
        return f"cuda:{self._place.local}"

    def begin(self, device: torch.device) -> None:
        """Start the group that sums tensors, once every process is here; alone nothing is started."""
        if self.count == 1 or self._group:
            return
        self._arrive("begin")
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        distributed: Any = torch.distributed
        with self._connected():
            prefixed = distributed.PrefixStore("group", self._store)
            distributed.init_process_group(backend, store=prefixed, rank=self.rank, world_size=self.count)
        self._group = True

    def share(self, make: Callable[[], T]) -> T:
        """Let the first process make something by itself, and return it on all of them.

        Raises:
            ConnectivityError: What `make` raised of this kind, on all of them; `refusal` is that very error.
        """
        if self.count == 1:
            return make()
        key = self._key("made")
        found: list[Any] = [None, None]
        if self.is_first:
            try:
                with _by_itself():
                    found[0] = make()
            except ConnectivityError as error:
                found[1] = (type(error), str(error))
            self.publish(key, "")
        self.awaited(key)  # however long it takes to make: a group waits for half an hour only
        with self._connected():
            torch.distributed.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        made, refused = found
        if refused is not None:
            kind, text = refused
            self.refusal = kind(text)
            raise self.refusal
        return made  # type: ignore[no-any-return]

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes, which is the same on all of them bit for bit."""
        if self.count > 1:
            with self._connected():
                torch.distributed.all_reduce(tensor)

    def require_same(self, what: Mapping[str, object]) -> None:
        """Refuse to work together on different things.

        Args:
            what: By names as a person knows them, JSON-ready values that must be those of the first process.

        Raises:
            InputError: One of them is another than in the first process.
        """
        if self.count == 1:
            return
        key = self._key("same")
        own = {name: json.dumps(value, sort_keys=True) for name, value in what.items()}
        if self.is_first:
            self.publish(key, json.dumps(own))
        first = self.awaited(key)
        if first != json.dumps(own):
            other = [name for name, value in own.items() if json.dumps({name: value})[1:-1] not in first]
            raise InputError(
                f"process {self.rank + 1} of {self.count}: {' and '.join(other)} differ from those of the first; give "
                "every process the same files"
            )
        self._arrive(key)

    def key(self, what: str) -> str:
        """Return the beginning of keys that nothing else in the store has; asked for by all processes alike."""
        return self._key(what)

    def publish(self, key: str, value: str) -> None:
        """Put a value where all processes see it."""
        with self._connected():
            self._store.set(key, value)

    def is_there(self, key: str) -> bool:
        """Say whether some process has published a value; waits for nothing.

        Raises:
            OtherFailed: Another process failed, or is gone.
        """
        if self._lost is not None:
            raise OtherFailed(f"process {self._lost + 1} of {self.count} was not heard of for {_SILENT:g} seconds")
        with self._connected():
            if self._store.check([_FAILED]):
                raise OtherFailed("another process failed")
            return bool(self._store.check([key]))

    def awaited(self, key: str) -> str:
        """Return a value once some process has published it."""
        pause = _SOON
        while not self.is_there(key):
            time.sleep(pause)
            pause = min(_LATE, 2 * pause)
        with self._connected():
            value: bytes = self._store.get(key)
        return value.decode()

    def fails(self) -> bool:
        """Note that this process failed; return whether it is the first that did, and so the one that says why."""
        self._ending.set()
        try:
            return int(self._store.add(_FAILED, 1)) == 1
        except RuntimeError:  # the store is gone with the first process, which was killed: one of the others says so
            return self.rank == 1

    def settled(self, status: int, mine: bool) -> int:
        """Return the exit status of all: that of the process that failed first.

        Args:
            status: Of this process.
            mine: Whether it was the first.
        """
        with contextlib.suppress(RuntimeError, ValueError):
            if mine:
                self._store.set(_STATUS, str(status))
                self._wait(lambda: int(self._store.add(_FAILED, 0)) >= self.count, _WORDS)  # the store goes with us
            elif self._wait(lambda: bool(self._store.check([_STATUS])), _WORDS):
                return int(self._store.get(_STATUS))
        return status

    def leave(self) -> None:
        """End with the others: the store, which is the first process's, stays until all have read from it.

        Raises:
            OtherFailed: Another process failed meanwhile.
        """
        if self.count == 1:
            return
        self._arrive(_LEFT)
        self._ending.set()
        if self._group:
            torch.distributed.destroy_process_group()
            self._group = False
        with contextlib.suppress(RuntimeError):
            if int(self._store.add("gone", 1)) < self.count and self.is_first:
                self._wait(lambda: int(self._store.add("gone", 0)) >= self.count, _GRACE)

    def watch(self) -> None:
        """From now on, end this process soon after another failed, whatever it waits for."""
        threading.Thread(target=self._watch, daemon=True, name="watching other processes").start()

    def _watch(self) -> None:
        while not self._ending.wait(_WATCH):
            try:
                self.listen()
                if not self._store.check([_FAILED]):
                    continue
            except RuntimeError:  # the store is gone, and the process that held it
                pass
            if not self._ending.is_set():
                _thread.interrupt_main(signal.SIGTERM)
                if not self._ending.wait(_GRACE):
                    os._exit(self.settled(1, mine=False))
            return

    def listen(self) -> None:
        """Give a sign of life; note where another gives none. The first listens to all, the others to the first."""
        now = time.monotonic()
        self._store.add(f"pulse.{self.rank}", 1)
        for other in range(1, self.count) if self.is_first else (0,):
            pulse = int(self._store.add(f"pulse.{other}", 0))
            before, since = self._pulses.get(other, (-1, now))
            self._pulses[other] = (pulse, now if pulse != before else since)
            if now - self._pulses[other][1] > _SILENT:
                self._lost = other

    def _arrive(self, what: str) -> None:
        """Wait until every process is here."""
        with self._connected():
            here = int(self._store.add(f"{what}.here", 1))
        if here == self.count:
            self.publish(f"{what}.all", "")
        self.awaited(f"{what}.all")

    def _key(self, what: str) -> str:
        self._asked += 1
        return f"{what}.{self._asked}"

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                return False
            time.sleep(_LATE)
        return True

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Turn a broken connection into one line."""
        try:
            yield
        except RuntimeError as error:
            raise OtherFailed(f"another process ended, or cannot be reached: {one_line(error, 120)}") from error


_ALONE = Team(Place())
_joined: list[Team] = []
_begun: list[Team] = []


def join(environment: Mapping[str, str]) -> Team:
    """Return the team that the environment says this process is one of, see `started_place`.

    Raises:
        UsageError: The environment does not say which process this is.
        ConnectivityError: The others cannot be reached.
    """
    place = started_place(environment)
    if place.count == 1:
        return _ALONE
    take_place(place)
    distributed: Any = torch.distributed
    try:
        store, _, _ = next(distributed.rendezvous("env://", place.rank, place.count))
    except (RuntimeError, ValueError) as error:
        raise ConnectivityError(f"the other processes cannot be reached: {one_line(error, 200)}") from None
    team = Team(place, distributed.PrefixStore("connectivity_hooks", store))
    team.watch()
    _joined.append(team)
    return team


def joined() -> Team:
    """Return the team that this process was started in, whether or not the command works on anything together."""
    return _joined[-1] if _joined else _ALONE


def together(device: torch.device) -> Team:
    """Begin to work together, where this process was started as one of several."""
    team = joined()
    team.begin(device)
    if team not in _begun:
        _begun.append(team)
    return team


@contextlib.contextmanager
def _by_itself() -> Iterator[None]:
    """Let this process work alone in the block, while the others wait."""
    _begun.append(_ALONE)
    try:
        yield
    finally:
        _begun.pop()


def current() -> Team:
    """Return the processes that work together now; this one alone, where no command began to."""
    return _begun[-1] if _begun else _ALONE
