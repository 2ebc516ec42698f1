"""What is run in each of two processes that hold a part of one module and train its curve."""

import torch
from curve_modules import task_of
from trained_together import Team2, assert_shared, train

CASES = {
    "plain": {"batch_size": 7},  # the last batch is of 5, of an odd number
    "tied": {"clip": 0.05, "weight_decay": 0.1},
    "frozen": {"clip": None, "weight_decay": 0.1},
    "buffered": {},
    "parametrised": {},
    "channels last": {"batch_size": 37},  # the last batch is of 3, too few for both
    "mixed": {"bends": 2},
}


def as_one(rank, file):
    """Compare what two train of a module spread over both with what they train of a whole one each, and one alone."""
    team = Team2(rank, file)
    for kind, options in CASES.items():
        task = task_of(kind)
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
