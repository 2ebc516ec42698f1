"""What the first process kept, told to the others one tensor at a time: none holds more than it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from connectivity_hooks.contracts import State, Work
from connectivity_hooks.team import Team


class Told(Mapping[str, Tensor]):
    """Tensors of a state by name, as the first process has them; all processes ask for the same in the same order.

    Args:
        team: The processes.
        names: Of the tensors.
        own: In the first process, the tensors.
    """

    def __init__(self, team: Team, names: list[str], own: Mapping[str, Tensor]) -> None:
        self._team, self._names, self._own = team, names, own

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor, once it is asked for in every process."""
        return self._team.share(lambda: self._own[name])

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether there is a tensor of a name; asks nobody."""
        return name in self._names


def told(team: Team, work: Work) -> State | None:
    """Return what the first process loads; None where there is nothing to go on from."""
    own: list[State | None] = []

    def load() -> tuple[list[str], Mapping[str, Any]] | None:
        own.append(work.load())
        found = own[0]
        return None if found is None else (list(found.tensors), found.note)

    known = team.share(load)
    if known is None:
        return None
    names, note = known
    tensors = own[0].tensors if own and own[0] is not None else {}
    return State(Told(team, names, tensors), note)
