"""Threads that stand for processes which see one store: for what is not summed, and needs no group."""

import threading

import torch.distributed as dist

from connectivity_hooks.processes import Place
from connectivity_hooks.team import Team


def side_by_side(work, count=2):
    """Return what `work(team)` returns or raises in each of several threads that stand for processes."""
    store, found = dist.HashStore(), [None] * count

    def one(rank):
        try:
            found[rank] = work(Team(Place(rank, count, rank), store))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "it waits for the others"
    return found
