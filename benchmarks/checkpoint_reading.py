"""Time to read, hash and look through two checkpoints for NaN and Inf, against the same work one after the other.

python benchmarks/checkpoint_reading.py --megabytes 400
"""

import argparse
import hashlib
import os
import pathlib
import tempfile
import time

import torch
from safetensors.torch import load

from connectivity_hooks.checkpoints import read, read_together, require_finite, write_tensors


def one_after_the_other(files):
    """Do it with the library's reader: bytes, digest, tensors, and PyTorch's isfinite."""
    for file in files:
        content = pathlib.Path(file).read_bytes()
        hashlib.sha256(content).hexdigest()
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load(content).values())


def one_file_at_a_time(files):
    """Read with `read`: hashed and looked through while it is read."""
    for file in files:
        require_finite(read(file))


def together(files):
    """Read both files at once."""
    checkpoints = [read(file) for file in files]
    read_together(*checkpoints)
    for checkpoint in checkpoints:
        require_finite(checkpoint)


def best_of(work, files, times):
    """Return the shortest time, and the processor's time of that run, both in seconds."""
    runs = []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        work(files)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}.safetensors" for name in "ab"]
        for file in files:
            weights = {f"layer{i}.weight": torch.randn(arguments.megabytes * 5000, 5) for i in range(10)}
            write_tensors(file, weights, {})
        print(f"2 files of {arguments.megabytes} MB, {os.cpu_count()} cores, best of {arguments.times}")
        baseline = None
        for work in (one_after_the_other, one_file_at_a_time, together):
            wall, cpu = best_of(work, files, arguments.times)
            baseline = baseline or wall
            print(f"{work.__name__:20} {wall:6.2f} s, {cpu:6.2f} s of processor, ratio {baseline / wall:.1f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
