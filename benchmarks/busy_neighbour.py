"""What evaluating a path costs beside a busy process: against a plain loop of as many passes, in the same run.

Twice, alone and beside processes that keep one core busy each: the plain loop leaves every operation to PyTorch's
threads, ours gives each batch to one thread and chooses how many work by a trial.

    python benchmarks/busy_neighbour.py --data mnist.npz
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys

import torch
from pairing import paired

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit

HERE = pathlib.Path(__file__).parent
POINTS = 9


@contextlib.contextmanager
def neighbours(count):
    """Keep `count` cores busy in the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def plain(path, task, model):
    """Return a loop that does the same passes with nothing but PyTorch."""

    @torch.no_grad()
    def run():
        for index in range(POINTS):
            model.load_state_dict(path(index / (POINTS - 1)))
            for inputs, targets in task.train.batches(task.batch_size):
                torch.nn.functional.cross_entropy(model(inputs), targets, reduction="none")

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--network", default="mlp?depth=4&width=200", help="a function of networks.py with arguments")
    parser.add_argument("--busy", type=int, default=1, help="processes beside")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    task = ch.make_task(
        model=f"{HERE / 'networks.py'}:{arguments.network}", data=arguments.data, normalize="0.1307,0.3081"
    )
    few = task.train.sample(arguments.samples, seed=0)
    task = ch.Task(task.factory, CachedSplit("train", few.inputs, few.targets()))
    path = ch.Path.from_points([task.model().state_dict() for _ in range(2)])
    chosen = []

    def ours():
        chosen.append(ch.evaluate(path, task, points=POINTS, refine=0).threads)

    for count in (0, arguments.busy):
        with neighbours(count):
            evaluated, passes, ratio = paired(ours, plain(path, task, task.model()), arguments.repeats)
        print(
            f"beside {count} busy processes, {torch.get_num_threads()} threads: evaluate {evaluated:.2f} s "
            f"with {sorted(set(chosen))} of them, plain passes {passes:.2f} s, ratio {ratio:.3f}",
            flush=True,
        )
        chosen.clear()


if __name__ == "__main__":
    main()
