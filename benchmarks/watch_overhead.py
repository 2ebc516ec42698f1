"""What watching costs: a timm resnet18 trained on digits, with `watch` and without, in both modes.

python benchmarks/watch_overhead.py --mode probe --batches 60 --repeats 3
python benchmarks/watch_overhead.py --mode training --batches 60 --repeats 3
python benchmarks/watch_overhead.py --mode default --batches 1000 --samples 256

``probe``: one check in --batches steps, so that its cost stands out of the noise; what the default schedule waits until
it is paid off follows from it. ``training``: what listening to every 10th step costs, without checks. ``default``: the
default schedule itself, one run.
"""

import argparse
import statistics
import time

import timm
import torch
from pairing import paired
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.data.digits import load

NEVER = 10**9


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--mode", choices=["probe", "training", "default"], default="probe")
    parser.add_argument("--condition", default="separability")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu-seconds", action="store_true", help="count one thread's own time; for a shared machine")
    arguments = parser.parse_args()
    if arguments.cpu_seconds:
        torch.set_num_threads(1)
        time.perf_counter = time.process_time
    loop = Loop(arguments)
    if arguments.mode == "default":
        watch = loop.watched()
        checks = len({row.step for row in watch.history})
        print(f"{loop}: {checks} checks, {watch.seconds:.2f} s of {watch.elapsed:.2f} s: {loop.shares[-1]:.2%}")
        return
    with_watch, without, ratio = paired(loop.watched, loop.plain, arguments.repeats)
    print(
        f"{loop}: {with_watch:.2f} s watched, {without:.2f} s without, ratio {ratio:.4f} (medians of "
        f"{arguments.repeats} pairs); measured directly: {statistics.median(loop.costs):.3f} s, "
        f"{statistics.median(loop.shares):.2%}"
    )
    if arguments.mode == "probe":
        steps = statistics.median(loop.costs) / (without / arguments.batches)
        print(f"a check costs {steps:.1f} steps of training; every 500 steps that is {steps / (500 + steps):.2%}")


class Loop:
    """A training loop, with and without watch; remembers the seconds and the share that watch reports."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.task = digits_task(arguments.device)
        torch.manual_seed(0)
        self.model = self.task.factory().to(arguments.device).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05, momentum=0.9)
        self.costs, self.shares = [], []

    def __str__(self):
        a = self.arguments
        return (
            f"resnet18, {a.mode}, {a.condition}, {a.device}, {a.batches} steps of {a.batch_size}, {a.samples} samples"
        )

    def plain(self, watch=None):
        """Train for so many steps."""
        x, y = self.task.train.inputs, self.task.train.targets()
        for _ in range(self.arguments.batches):
            rows = torch.randint(len(x), (self.arguments.batch_size,)).to(x.device)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x[rows]), y[rows]).backward()
            self.optimizer.step()
            if watch is not None:
                watch.step(y[rows] if self.arguments.mode == "training" else None)

    def watched(self):
        """Train for so many steps, watched."""
        a = self.arguments
        options = {
            "probe": {"probe": self.task, "every": a.batches},
            "training": {"mode": "training", "every": NEVER, "at_end": False},
            "default": {"probe": self.task},
        }[a.mode]
        with ch.watch(self.model, conditions=a.condition, samples=a.samples, **options) as watch:
            self.plain(watch)
        self.costs.append(watch.seconds)
        self.shares.append(watch.seconds / watch.elapsed)
        return watch


def digits_task(device):
    """Return scikit-learn's digits as (3, 32, 32) images, and a resnet18."""
    images, labels = load().train
    images = F.interpolate(images, size=32, mode="bilinear").repeat(1, 3, 1, 1)
    split = CachedSplit("train", images.to(device), labels.to(device))
    return Task(lambda: timm.create_model("resnet18", num_classes=10), split, device=torch.device(device))


if __name__ == "__main__":
    main()
