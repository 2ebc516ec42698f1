"""What watching costs: a timm resnet18 trained on digits, with `watch` and without, in both modes.

python benchmarks/watch_overhead.py --mode probe --batches 100 --repeats 3
python benchmarks/watch_overhead.py --mode training --batches 100 --repeats 5

A loop of --batches steps ends with one check, so the ratio of the pairs is that of a schedule of --batches steps. The
last line scales the directly measured seconds to the default schedule.
"""

import argparse
import statistics

import timm
import torch
from pairing import paired
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.data.digits import load

DEFAULT_EVERY = 500


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--mode", choices=["probe", "training"], default="probe")
    parser.add_argument("--condition", default="separability")
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    task = digits_task(arguments.device)
    torch.manual_seed(0)
    model = task.factory().to(arguments.device).train()
    x, y = task.train.inputs, task.train.targets()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    probe = {"probe": task} if arguments.mode == "probe" else {"mode": "training"}
    shares, costs = [], []

    def epoch(watch=None):
        for _ in range(arguments.batches):
            rows = torch.randint(len(x), (64,)).to(x.device)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            if watch is not None:
                watch.step(y[rows] if arguments.mode == "training" else None)

    def watched():
        with ch.watch(model, every=arguments.batches, conditions=arguments.condition, **probe) as watch:
            epoch(watch)
        shares.append(watch.seconds / watch.elapsed)
        costs.append(watch.seconds)

    with_watch, without, ratio = paired(watched, epoch, arguments.repeats)
    cost, step = statistics.median(costs), without / arguments.batches
    print(
        f"resnet18, mode {arguments.mode}, {arguments.condition}, {arguments.device}, a check in {arguments.batches} "
        f"steps: {with_watch:.2f} s watched, {without:.2f} s without, ratio {ratio:.4f} (medians of "
        f"{arguments.repeats} pairs); measured directly: {cost:.3f} s, {statistics.median(shares):.2%} of the time"
    )
    if arguments.mode == "probe":
        share = cost / (cost + DEFAULT_EVERY * step)
        print(f"a check costs {cost / step:.2f} steps of training; every {DEFAULT_EVERY} steps that is {share:.2%}")


def digits_task(device):
    """Return scikit-learn's digits as (3, 32, 32) images, and a resnet18."""
    images, labels = load().train
    images = F.interpolate(images, size=32, mode="bilinear").repeat(1, 3, 1, 1)
    split = CachedSplit("train", images.to(device), labels.to(device))
    return Task(lambda: timm.create_model("resnet18", num_classes=10), split, device=torch.device(device))


if __name__ == "__main__":
    main()
