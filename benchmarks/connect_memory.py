"""Peak memory of ``connect`` on two checkpoints of a large model, against the same run with a tiny one.

python benchmarks/connect_memory.py --width 6000
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

import connectivity_hooks as ch

MEASURE = """
import resource
from connectivity_hooks.cli import connect
try:
    connect()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""

BATCH = 64


def peak_of(width, x, y):
    """Return the peak memory of one ``connect`` process, and the size of its model, in bytes."""
    network = pathlib.Path(__file__).parent / "networks.py"
    with tempfile.TemporaryDirectory() as folder:
        spec = f"{network}:mlp?depth=3&width={width}"
        np.savez(f"{folder}/data.npz", x_train=x, y_train=y, x_test=x[:500], y_test=y[:500])
        task = ch.make_task(model=spec, data=f"{folder}/data.npz")
        for name in ("a", "b"):
            model = task.factory()
            ch.save(model, f"{folder}/{name}.safetensors")
        ends = [f"{folder}/a.safetensors", f"{folder}/b.safetensors"]
        words = ["--model", spec, "--data", f"{folder}/data.npz", "--batch-size", str(BATCH)]
        options = ["--points", "3", "--refine", "0", "--out", f"{folder}/out", "--json"]
        program = [sys.executable, "-c", MEASURE, *ends, *words, *options]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return int(done.stdout.splitlines()[-1]), size


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--samples", type=int, default=4000)
    arguments = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(arguments.samples, 784)).astype(np.float32)
    y = np.arange(arguments.samples) % 10
    small, _ = peak_of(8, x, y)
    large, size = peak_of(arguments.width, x, y)
    print(
        f"model of {size / 1e6:.0f} MB: peak {large / 1e6:.0f} MB, same data and a tiny model {small / 1e6:.0f} MB, "
        f"difference {(large - small) / size:.2f} models"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
