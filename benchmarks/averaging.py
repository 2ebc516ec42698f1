"""What the barriers of 100 pairs of MNIST MLPs cost, against plain passes at the same weights; and their memory.

python benchmarks/averaging.py --data mnist.npz
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import connectivity_hooks as ch
from connectivity_hooks.connecting import Connecting
from connectivity_hooks.evaluation import Measuring
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.pairs import all_pairs, measure_pairs
from connectivity_hooks_averaging.set import read_set

NETWORK = pathlib.Path(__file__).parent / "networks.py"

MEASURE = """
import resource, sys
import connectivity_hooks as ch
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.pairs import all_pairs, measure_pairs
from connectivity_hooks_averaging.set import read_set
from connectivity_hooks.connecting import Connecting
from connectivity_hooks.evaluation import Measuring
spec, data, *files = sys.argv[1:]
task = ch.make_task(model=spec, data=data, batch_size=64)
how = Connecting(Line(), measuring=Measuring(3, 0))
found = list(measure_pairs(read_set(files, task).entries, all_pairs(len(files)), task, how))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def trained(task, folder, count):
    """Train networks for one epoch each, from starts and orders of their own, and return their files."""
    files = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = task.factory()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for drawn in task.train.shuffled(128, seed):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(drawn.inputs), drawn.targets).backward()
            optimizer.step()
        files.append(folder / f"{seed}.safetensors")
        ch.save(model, files[-1])
    return files


@torch.no_grad()
def plain(task, files, pairs, points):
    """Make plain passes at the weights of each pair's line."""
    model = task.model()
    for a, b in pairs:
        ends = [{k: v.clone() for k, v in _weights(files[number]).items()} for number in (a, b)]
        for t in np.linspace(0, 1, points):
            model.load_state_dict({name: ends[0][name].lerp(ends[1][name], float(t)) for name in ends[0]})
            total = torch.zeros(())
            for x, y in task.train.batches(task.batch_size):
                total += torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
            total.item()


def _weights(file):
    from safetensors.torch import load_file

    return load_file(file)


def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def memory(width):
    """Return the peak memory of measuring three pairs, and the size of a model, in bytes."""
    spec = f"{NETWORK}:mlp?depth=3&width={width}"
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        x = generator.normal(size=(512, 784)).astype(np.float32)
        np.savez(f"{folder}/data.npz", x_train=x, y_train=np.arange(512) % 10, x_test=x[:64], y_test=np.arange(64) % 10)
        task = ch.make_task(model=spec, data=f"{folder}/data.npz")
        files = [f"{folder}/{number}.safetensors" for number in range(3)]
        for number, file in enumerate(files):
            torch.manual_seed(number)
            ch.save(task.factory(), file)
        program = [sys.executable, "-c", MEASURE, spec, f"{folder}/data.npz", *files]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        size = pathlib.Path(files[0]).stat().st_size
    return int(done.stdout.split()[-1]), size


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--models", type=int, default=15)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--large", type=int, default=6000, help="width of the model that memory is counted in")
    arguments = parser.parse_args()
    spec = f"{NETWORK}:mlp?depth=3&width={arguments.width}"
    task = ch.make_task(model=spec, data=arguments.data, normalize="0.1307,0.3081")
    task = task.on(task.train, None)
    how = Connecting(Line(), measuring=Measuring(arguments.points, 0))
    with tempfile.TemporaryDirectory() as folder:
        files = trained(task, pathlib.Path(folder), arguments.models)
        found = read_set(files, task)
        pairs = all_pairs(arguments.models)[: arguments.pairs]
        ours, passes = 0.0, 0.0
        for number in range(0, len(pairs), 10):  # in turns: whoever shares the machine slows both
            part = pairs[number : number + 10]
            ours += seconds(lambda part=part: list(measure_pairs(found.entries, part, task, how)))
            passes += seconds(lambda part=part: plain(task, files, part, arguments.points))
    print(
        f"{len(pairs)} pairs of MLPs 3×{arguments.width}, {arguments.points} points each: {ours:.1f} s, "
        f"{len(pairs) * arguments.points} plain passes {passes:.1f} s, ratio {ours / passes:.3f}",
        flush=True,
    )
    (small, _), (large, size) = memory(8), memory(arguments.large)
    print(f"memory of 3 pairs of models of {size / 1e6:.0f} MB: {(large - small) / size:.2f} models beside the data")


if __name__ == "__main__":
    main()
