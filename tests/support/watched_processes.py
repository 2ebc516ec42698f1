"""Trainings of two processes, watched: what each process does and asserts."""

import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from watched_training import Mean, data, steps

import connectivity_hooks as ch

X, Y = data()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def ddp(rank, out, mode):
    """Train under DDP, watched and not; the weights agree, and the first process alone has written."""
    ends = []
    for watched in (False, True):
        model = DistributedDataParallel(network())
        torch.manual_seed(rank)
        if not watched:
            steps(model, 6)
        else:
            options = {"mode": mode, "samples": 16, "capture_every": 1} if mode == "training" else {"probe": (X, Y)}
            with ch.watch(
                model,
                conditions=[Mean()],
                every=2,
                out=out,
                save=out / "saved",
                at_start=mode == "probe",
                strict=True,
                **options,
            ) as watch:
                steps(model, 6, watch, targets=True)
            assert watch.steps == 6
            assert bool(watch.history) == (rank == 0)
        ends.append(model.module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def only_one_checks(rank):
    """Check on one process while the other never calls the watch at all."""
    model = DistributedDataParallel(network())
    if rank == 0:
        with ch.watch(model, (X, Y), conditions=["separability", "dropout-stability"], strict=True) as watch:
            watch.check()


def sharded(rank, out):
    """Watch a model of FSDP2: a probe and saving are refused by name, training mode measures."""
    from torch.distributed.fsdp import fully_shard

    model = network()
    for child in model:
        if isinstance(child, nn.Linear):
            fully_shard(child)
    fully_shard(model)
    torch.manual_seed(rank)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with ch.watch(model, (X, Y), conditions=[Mean()], every=1, save=out / "saved") as probing:
            model(X[:8])
            probing.step()
        with ch.watch(
            model, mode="training", conditions=[Mean()], every=1, samples=8, capture_every=1, strict=True
        ) as listening:
            for _ in range(2):
                model(X[:8])
                listening.step(Y[:8])
    lines = [str(warning.message) for warning in said]
    if rank == 0:
        assert any("is sharded by FSDP: a probe forward on one process would wait" in line for line in lines), lines
        assert any("is sharded by FSDP: saving the weights on one process" in line for line in lines), lines
        assert {row.status for row in probing.history} == {"invalid"}
        assert {row.status for row in listening.history} <= {"holds", "fails"}
        assert len({row.step for row in listening.history}) == 2
    assert not (out / "saved").exists()
