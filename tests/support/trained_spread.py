"""What is run in each of two processes that hold a part of one module and train its curve."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from curve_modules import WIDTH, Recurrent, end_of, plain, task_of
from torch import nn
from trained_together import Kept, Team2, assert_same, assert_shared, norms, train

from connectivity_hooks.contracts import UNKEPT
from connectivity_hooks.errors import InputError
from connectivity_hooks_curves.training.points import Points
from connectivity_hooks_curves.training.training import trained_at

CASES = {
    "plain": {"batch_size": 7},  # the last batch is of 5, of an odd number
    "tied": {"clip": 0.05, "weight_decay": 0.1},
    "frozen": {"clip": None, "weight_decay": 0.1},
    "buffered": {},
    "parametrised": {},
    "channels last": {"batch_size": 37},  # the last batch is of 3, too few for both
    "mixed": {"bends": 2},
    "attending": {"precision": "full"},
}


class Attending(nn.Module):
    """A transformer: an embedding that is tied to nothing, a parameter of its own, and a block that is run twice."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(7, 8), nn.Parameter(torch.randn(1, WIDTH, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        hidden = self.embed((3 * x).long().remainder(7)) + self.place
        for block in (*self.blocks, self.blocks[0]):
            hidden = block(hidden)
        return self.head(self.norm(hidden).mean(1))


class Writing(nn.Module):
    """Writes into one of its weights as it runs: before, or inside, what has it."""

    def __init__(self, inside):
        super().__init__()
        self.inner, self.inside = plain(), inside
        self.inner[0].register_forward_pre_hook(lambda module, inputs: self.write() if inside else None)

    @torch.no_grad()
    def write(self):
        self.inner[0].weight.mul_(0.5)

    def forward(self, x):
        if not self.inside:
            self.write()
        return self.inner(x)


def made(kind):
    return replace(task_of("plain"), factory=Attending) if kind == "attending" else task_of(kind)


def as_one(rank, file):
    """Compare what two train of a module spread over both with what they train of a whole one each, and one alone."""
    team = Team2(rank, file)
    for kind, options in CASES.items():
        task = made(kind)
        found = train(task, together=team, sharded=True, **options)
        for other in (train(task, together=team, **options), train(task, **options)):
            assert_close(found, other, kind)
        assert_shared(found, team)


def assert_close(found, other, kind):
    close = {"rtol": 1e-4, "atol": 1e-6} if kind == "mixed" else {"rtol": 1e-7, "atol": 1e-9}
    assert found.steps == other.steps == 13
    torch.testing.assert_close(torch.tensor(found.losses), torch.tensor(other.losses), **close)
    for here, there in zip(found.points, other.points, strict=True):
        for name, tensor in there.items():
            torch.testing.assert_close(here[name], tensor, **close, msg=f"{kind}: {name}")


def going_on(rank, file):
    """Go on from what the first process kept, in as many processes and in another number; batch norm counts too."""
    team = Team2(rank, file)
    task = replace(task_of("normed"), factory=norms)
    work = Kept(9) if team.is_first else UNKEPT
    whole = train(task, work, together=team, sharded=True)
    assert_close(whole, train(task, together=team), "norms")
    assert_same(train(task, work, together=team, sharded=True), whole)
    assert not team.is_first or work.state.note["step"] == 9
    for kind in ("plain", "channels last"):
        task, work = task_of(kind), Kept(9) if team.is_first else UNKEPT
        whole = train(task, work, together=team, sharded=True)
        if team.is_first:
            again = train(task, work)
            assert_close(again, whole, kind)
            assert len(again.losses) == len(whole.losses)


def parts(rank, file):
    """Hold half of the parameters, and refuse what would be wrong."""
    import connectivity_hooks.team as teams

    team, task = Team2(rank, file), made("attending")
    a, b = end_of(task, 1), end_of(task, 2)
    teams._begun[:] = [team]
    with trained_at(a, task, sharded=True) as flat:
        sizes = [tensor.numel() for tensor in a.values()]
        (group,), points = flat.groups, Points(flat, a, b, "bezier", 1)
        assert abs(2 * group.values.numel() - sum(sizes)) <= sum(tensor[:1].numel() for tensor in a.values())
        for vector in (*points.nothing(), *points.gradients, *points.collected()):
            assert vector.shape == group.values.shape
        assert points.weights()[0] is a
        torch.testing.assert_close(points.weights()[1], {name: (a[name] + b[name]) / 2 for name in a})
    teams._begun.clear()
    sparse = replace(task_of("recurrent"), factory=Recurrent)
    writing = [replace(task_of("plain"), factory=partial(Writing, inside)) for inside in (False, True)]
    for refused, reason in ((sparse, "embed gives sparse"), *((each, "writes .* inner.0.weight") for each in writing)):
        with pytest.raises(InputError, match=reason):
            train(refused, together=team, sharded=True)
