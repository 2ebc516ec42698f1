"""Working on both ends at once: one thread each, which share the processor's cores."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

import torch

from connectivity_hooks.parallel import is_undivided, most

T = TypeVar("T")


def in_turn(works: Sequence[Callable[[], Iterator[T]]]) -> Iterator[tuple[int, T]]:
    """Yield (number, item) for all items of the first work, then of the second."""
    return itertools.chain.from_iterable(((number, item) for item in work()) for number, work in enumerate(works))


def in_parallel(works: Sequence[Callable[[], Iterator[T]]]) -> Iterator[tuple[int, T]]:
    """Yield (number, item) as the works come by them, each in a thread of its own with its share of the cores.

    Small matrix products do not fill several cores; two of them side by side do, one core each where operations are
    undivided. What each work yields does not depend
    on the others. An exception of a work is raised here; when the iteration ends early, works are waited for, and stop
    at their next item.
    """
    before, share = torch.get_num_threads(), 1 if is_undivided() else max(1, most() // len(works))
    found, stopped = SimpleQueue[tuple[int, T | BaseException | None]](), threading.Event()

    def run(number: int) -> None:
        torch.set_num_threads(share)  # holds for this thread alone
        try:
            for item in works[number]():
                found.put((number, item))
                if stopped.is_set():
                    return
            found.put((number, None))
        except BaseException as error:
            found.put((number, error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    try:
        for thread in threads:
            thread.start()
        left = len(works)
        while left:
            number, item = found.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield number, item
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        torch.set_num_threads(before)
