"""Both ends' sub-networks: side by side only where there is room, the same ones either way."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from certified_parts import read

from connectivity_hooks.progress import SILENT
from connectivity_hooks_theorem.certified.search import both_ends
from connectivity_hooks_theorem.certified.search.both_ends import find_all
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.setting import Setting


class Recorded:
    """A progress that notes what it was told."""

    def __init__(self):
        self.totals = []

    def track(self, items, _, total):
        self.totals.append(total)
        return items


def finders(memory=10**9, augment=None):
    task, _, network = read("mlp", steps=1)
    setting = Setting(network, replace(task, augment=augment), EFFORTS["quick"], 0, memory=memory)

    def finds(name):
        return lambda: (SimpleNamespace(cut=cut, end=name) for cut in (2, 3, 1))

    return [SimpleNamespace(setting=setting, network=network, find=finds(name)) for name in "AB"]


def test_each_ends_sub_networks_come_from_the_last_cut_to_the_first():
    told = Recorded()
    found = find_all(finders(), told)
    assert [[(each.end, each.cut) for each in one] for one in found] == [
        [("A", 3), ("A", 2), ("A", 1)],
        [("B", 3), ("B", 2), ("B", 1)],
    ]
    assert told.totals == [6]
    (alone,) = find_all(finders()[1:], told)
    assert [each.end for each in alone] == ["B", "B", "B"]
    assert find_all([], SILENT) == []


# Features of 240 samples at the widest cut, 14 neurons: float32, twice, for two ends.
NEEDED = 240 * 14 * 4 * 2 * 2


@pytest.mark.parametrize(
    ("threads", "memory", "augment", "side_by_side"),
    [
        (2, NEEDED, None, True),
        (2, NEEDED - 1, None, False),
        (1, NEEDED, None, False),
        (2, NEEDED, lambda x: x, False),
    ],
    ids=["room", "too little memory", "one core", "augmentation"],
)
def test_ends_are_worked_on_side_by_side_where_there_is_room(threads, memory, augment, side_by_side, monkeypatch):
    used, before = [], torch.get_num_threads()
    for name in ("in_parallel", "in_turn"):
        of = getattr(both_ends, name)
        monkeypatch.setattr(both_ends, name, lambda works, of=of, name=name: (used.append(name), of(works))[1])
    torch.set_num_threads(threads)
    try:
        find_all(finders(memory, augment), SILENT)
    finally:
        torch.set_num_threads(before)
    assert used == ["in_parallel" if side_by_side else "in_turn"]
