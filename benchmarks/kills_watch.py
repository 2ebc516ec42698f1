"""A watched training killed at random moments and started again: equal results to one that ran through, no litter.

python benchmarks/kills_watch.py --kills 50 [--seed 0] [--mode training]

The training keeps a checkpoint of its own every few steps, with the state of the watch in it, as docs/watching.md says.
Compared are the final weights, every row of the history but its times, and every checkpoint that the watch saved. What
a killed run leaves half written must be gone when the next run that gets through has ended.
"""

import argparse
import multiprocessing
import os
import pathlib
import random
import tempfile
import time

import torch
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.watching import summary  # noqa: F401 (imported here, so that a run takes no time for it)

STEPS = 60
# The training's own checkpoints. What passed since the last check is not in the state of a watch: in mode training only
# a checkpoint at a check goes on with the same rows.
KEPT_EVERY = {"probe": 7, "training": 10}
CONDITIONS = {"separability": {"draws": 1, "iterations": 50}, "feature-rank": {}}  # cheap: kills are to fall everywhere
TIMES = ("elapsed", "spent")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=["probe", "training"], default="probe")
    given = parser.parse_args()
    torch.set_num_threads(1)  # runs are forked, which threads would not survive
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = pathlib.Path(folder) / "whole", pathlib.Path(folder) / "killed"
        begun = time.perf_counter()
        assert run(whole, given.mode), "the training that nobody kills fails"
        usual = time.perf_counter() - begun
        kills, ended, litter = kill(killed, given, usual, results(whole))
    print(f"watched training, mode {given.mode}: {kills} kills, {ended} runs ended, each equal; {litter} half-written "
          "files, all removed")  # fmt: skip


def kill(folder, given, usual, expected):
    """Kill and start again until `kills` kills are done and the last run has ended by itself."""
    rng, kills, ended, litter = random.Random(given.seed), 0, 0, 0
    while kills < given.kills or ended == 0 or folder.exists():
        patience = rng.uniform(0, 1.2 * usual) if kills < given.kills else None
        if run(folder, given.mode, patience):
            assert results(folder) == expected, f"other results after {kills} kills"
            assert not half_written(folder), f"left over: {half_written(folder)}"
            ended += 1
            folder.rename(folder.with_name(f"ended-{ended}"))
        else:
            kills += 1
            litter += len(half_written(folder))
    return kills, ended, litter


def run(folder, mode, patience=None):
    """Start or go on with the training; kill it after `patience` seconds. Say whether it ended by itself."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder, mode))
    process.start()
    process.join(patience)
    if process.exitcode is None:
        process.kill()  # SIGKILL
        process.join()
        return False
    assert process.exitcode == 0, f"a run ended with {process.exitcode}"
    return True


def train(folder, mode):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    x, model = torch.randn(300, 6), network()
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    options = {"probe": (x, y)} if mode == "probe" else {"mode": mode, "samples": 32, "capture_every": 1}
    watch = ch.watch(model, every=5, conditions=CONDITIONS, out=folder, save=folder / "saved",
                     strict=True, **options)  # fmt: skip
    own = folder / "own.pt"
    if own.exists():
        state = torch.load(own)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        watch.load_state_dict(state["watch"])
    with watch:
        while watch.steps < STEPS:
            rows = torch.randint(300, (16,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            watch.step(y[rows] if mode == "training" else None)
            if watch.steps % KEPT_EVERY[mode] == 0:
                keep(own, model, optimizer, watch)
    ch.save(model, folder / "final.safetensors")


def network():
    return nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 8), nn.ReLU(),
                         nn.Linear(8, 3))  # fmt: skip


def keep(own, model, optimizer, watch):
    parts = {"model": model, "optimizer": optimizer, "watch": watch}
    new = own.with_suffix(".new")
    with new.open("wb") as file:
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, "random": torch.get_rng_state()}, file)
        os.fsync(file.fileno())
    new.replace(own)


def results(folder):
    """Return everything a training leaves that does not depend on the clock."""
    rows = [{name: value for name, value in vars(row).items() if name not in TIMES} for row in
            ch.watching.read_history(folder)]  # fmt: skip
    files = {
        file.name: file.read_bytes() for file in [folder / "final.safetensors", *sorted((folder / "saved").iterdir())]
    }
    return rows, files


def half_written(folder):
    return sorted(file.name for file in folder.rglob("*.part"))


if __name__ == "__main__":
    main()
