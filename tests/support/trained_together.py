"""What is run in each of two processes that train one curve together."""

import time
from dataclasses import replace

import torch
import torch.distributed as dist
from curve_modules import end_of, task_of
from torch import nn

import connectivity_hooks.team as teams
from connectivity_hooks.contracts import UNKEPT, State, make_options
from connectivity_hooks.processes import Place
from connectivity_hooks.team import Team
from connectivity_hooks_curves.bezier import Options
from connectivity_hooks_curves.training.training import train_curve

CASES = {
    "plain": {},
    "tied": {"clip": 0.05, "weight_decay": 0.1},
    "frozen": {"draws": 3},
    "returning": {"draws": 4, "clip": None, "weight_decay": 0.1},
    "recurrent": {"batch_size": 7},
    "channels last": {"batch_size": 37},  # the last batch is of 3, too few for both
    "mixed": {"bends": 2, "precision": "full"},
}
"""Kinds of modules that say the same of a sample whatever else is in its batch."""


class Team2(Team):
    """The team of a process whose group was started by a test."""

    def __init__(self, rank, file):
        super().__init__(Place(rank, 2, rank), dist.FileStore(file, 2))

    def begin(self, device):
        """Do nothing: the group is there."""


class Kept:
    """Keeps the state of one step."""

    def __init__(self, step):
        self.step, self.state, self.asked = step, None, 0

    def load(self):
        return self.state

    def due(self):
        self.asked += 1
        return self.asked == self.step

    def save(self, tensors, note=None):
        self.state = State({name: tensor.detach().clone() for name, tensor in tensors.items()}, note)


class Found:
    """What is given to `train_curve`, and what it says."""

    def __init__(self):
        self.said = []

    def track(self, items, label, total=None):
        yield from items

    def say(self, message):
        self.said.append(message)


def train(task, work=UNKEPT, *, together=None, progress=None, ends=None, **options):
    teams._begun[:] = [together] if together else []
    given = make_options(Options, {"budget": "13steps", "batch_size": 12, **options}, "bezier")
    a, b = ends or (end_of(task, 1), end_of(task, 2))
    try:
        how = {"draws": given.draws, "sharded": given.sharded, "seed": 5}
        return train_curve(a, b, task, "bezier", given.bends, given, **how, work=work, progress=progress or Found())
    finally:
        teams._begun.clear()


def as_one(rank, file):
    """Compare what two train with what one trains, and hold what both have against each other."""
    team = Team2(rank, file)
    for kind, options in CASES.items():
        task = task_of(kind)
        alone, found = train(task, **options), train(task, together=team, **options)
        close = {"rtol": 1e-4, "atol": 1e-6} if kind == "mixed" else {"rtol": 1e-7, "atol": 1e-9}
        assert found.steps == alone.steps == 13
        torch.testing.assert_close(torch.tensor(found.losses), torch.tensor(alone.losses), **close)
        for name, tensor in alone.points[1].items():
            torch.testing.assert_close(found.points[1][name], tensor, **close, msg=f"{kind}: {name}")
        assert_shared(found, team)


def assert_shared(found, team):
    """Assert that both processes have the same, bit for bit."""
    first = team.share(lambda: found)
    assert (first.losses, first.steps, first.note) == (found.losses, found.steps, found.note)
    for here, there in zip(found.points, first.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def norms():
    """Return a network with batch norm, dropout, spectral norm, and a moving average in place of a buffer."""
    spectral = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6))
    return nn.Sequential(spectral, nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 3))


def killed(rank, file):
    """Go on from a state that the first process kept; what modules write themselves and draw counts too."""
    team = Team2(rank, file)
    task = replace(task_of("normed"), factory=norms, augment=lambda x: x + 0.1 * torch.randn_like(x))
    for options in ({}, {"draws": 2}):
        work = Kept(9) if team.is_first else UNKEPT
        whole = train(task, work, together=team, **options)
        assert_shared(whole, team)
        again = train(task, work, together=team, **options)
        assert_same(again, whole)
        assert not team.is_first or work.state.note["step"] == 9


def assert_same(found, whole):
    assert found.losses == whole.losses
    for here, there in zip(found.points, whole.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def endings(rank, file):
    """End at the same step in both: by the clock of the first, at a target, at what is not finite."""
    team, task = Team2(rank, file), task_of("plain")
    begun = time.monotonic()
    timed = train(task, together=team, budget="1s")
    assert timed.steps > 1
    assert not team.is_first or time.monotonic() - begun >= 1
    assert_shared(timed, team)
    aimed = train(task, together=team, budget="500steps", target=100.0)
    assert aimed.steps == 50
    assert "below the target of 100" in aimed.note
    broken = replace(task, augment=lambda x: x * float("inf") if rank == 1 else x)  # in one process alone
    lost = train(broken, together=team)
    assert "not finite at step 1" in lost.note
    assert_shared(lost, team)
