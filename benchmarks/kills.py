"""Kills `connect --builder certified` and `star`, starts them again, and compares what they end with.

python benchmarks/kills.py --kills 50 [--seed 0]

Half of the kills come at a random moment, half while a file is being written. Paths and evaluation.csv must be those
of a run nobody killed, byte for byte, and report.json but for its seconds. What a killed run left half written must be
gone as soon as the next one has the folder.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import torch
from training import train

import connectivity_hooks as ch
from connectivity_hooks.cli.folder import LOCK

NETWORK = f"{pathlib.Path(__file__).resolve().parent}/networks.py:mlp?depth=2&width=40&inputs=64"
TASK = ["--model", NETWORK, "--data", "digits", "--device", "cpu"]
_WRITES = 7  # a run writes some more files than this
SECONDS = ("seconds", "build_seconds", "evaluation_seconds", "peak_memory")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        ends = prepared(folder)
        connect = ["connect", *ends, "--builder", "certified", "--certified.effort", "quick"]
        star = ["main", "star", *ends, "--hub", str(folder / "hub.safetensors"), "--effort", "quick", "--pairs"]
        for name, words in (("connect", connect), ("star", star)):
            killed(name, [*words, *TASK], folder / name, given.kills, random.Random(given.seed))


def prepared(folder):
    """Train two ends and a hub."""
    task = ch.make_task(model=NETWORK, data="digits", device="cpu")
    ends = [str(folder / f"{name}.safetensors") for name in "ab"]
    for seed, end in enumerate(ends):
        ch.save(train(task, seed, epochs=10, batch_size=100), end)
    run = started(["main", "hub", *TASK, "--effort", "quick", "--out", str(folder / "hub.safetensors")])
    assert run.wait() == 0
    return ends


def killed(name, words, place, kills, rng):
    """Kill and start again until `kills` kills are done and the last run has ended by itself."""
    started_at = time.perf_counter()
    assert started([*words, "--out", str(place / "whole")]).wait() == 0
    usual = time.perf_counter() - started_at
    expected, out = results(place / "whole"), place / "killed"
    done = ended = leftovers = 0
    while done < kills or out.exists():
        (out / LOCK).unlink(missing_ok=True)
        before = parts(out)
        run = started([*words, "--out", str(out)])
        if done < kills and rng.random() < 0.5:
            kill_in_writing(run, out, rng.randrange(1, _WRITES))
        survived = finishes(run, rng.uniform(0, 1.1 * usual) if done < kills else None)
        if (out / LOCK).exists() or survived:  # it came as far as the folder
            assert not before & parts(out), f"{name}: litter of an earlier run: {before & parts(out)}"
        leftovers += len(parts(out))
        if survived:
            assert results(out) == expected, f"{name}: other results after {done} kills"
            assert not parts(out)
            shutil.rmtree(out)
            ended += 1
        done += not survived
    print(
        f"{name}: {done} kills, {ended} runs ended, each equal; {leftovers} half-written files, all removed", flush=True
    )


def started(words):
    """Start one of the two programs, which says nothing."""
    code = f"from connectivity_hooks.cli import {words[0]}; {words[0]}()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code, *words[1:]], env=environment, **quiet)


def kill_in_writing(run, out, count):
    """Kill a run as soon as `count` half-written files of it have been seen, if it lives to write so many."""
    before, seen = parts(out), set()
    while run.poll() is None and len(seen) < count:
        seen |= parts(out) - before
        time.sleep(0.0005)  # a file takes some milliseconds, most of them for the disk
    run.send_signal(signal.SIGKILL)


def finishes(run, seconds):
    """Say whether a run ends by itself within `seconds`; kill it otherwise, if that was not done."""
    try:
        status = run.wait(seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
        return False
    assert status in (0, -signal.SIGKILL), f"status {status}"
    return status == 0


def parts(out):
    """Return the half-written files of a folder."""
    return {file.name for file in out.glob("*.part")}


def results(out):
    """Return what a run ends with: bytes of paths and tables, figures of the report without its seconds."""
    files = {file.name: file.read_bytes() for file in out.glob("*.path.safetensors")}
    if (out / "report.json").exists():
        files["evaluation.csv"] = (out / "evaluation.csv").read_bytes()
        files["report.json"] = json.dumps(timeless(json.loads((out / "report.json").read_text())))
    assert files
    return files


def timeless(value):
    """Return JSON without seconds."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in SECONDS}
    return [timeless(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
