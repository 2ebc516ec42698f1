"""What scoring many points in one pass over the data saves against a pass for each, and what the products alone cost.

python benchmarks/stacked_evaluation.py --inputs 784 --width 100
"""

import argparse
import statistics

import torch
from pairing import seconds
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.evaluation import together
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.tasks import CachedSplit, Task


def mlp(inputs, width):
    layers = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=61)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.manual_seed(0)
    x, y = torch.randn(asked.samples, asked.inputs), torch.randint(0, 10, (asked.samples,))
    split = CachedSplit("train", x.to(device), y.to(device))
    task = Task(lambda: mlp(asked.inputs, asked.width), split, device=device)
    path = ch.Path.from_points([dict(task.model().state_dict()) for _ in range(2)])
    model, batches = task.model(), list(split.batches(task.batch_size))
    most = together._MOST, together._MOST_AT_ONCE

    def evaluated(points):
        together._MOST, together._MOST_AT_ONCE = points
        try:
            return ch.evaluate(path, task, points=asked.points, refine=0)
        finally:
            together._MOST, together._MOST_AT_ONCE = most

    def products():
        with SideBySide(model, batches[0][0]) as passes:
            for _ in range(asked.points):
                for outputs, _ in passes.outputs(batches):
                    last = outputs
            last.sum().item()

    first, second = evaluated((1, 1)), evaluated(most)
    apart = max(abs(a.loss - b.loss) for a, b in zip(first.curves["train"], second.curves["train"], strict=True))
    found = {"one after the other": [], "together": [], "products alone": []}
    for _ in range(asked.repeats):
        for name, run in zip(found, (lambda: evaluated((1, 1)), lambda: evaluated(most), products), strict=True):
            found[name].append(seconds(run))
    medians = {name: statistics.median(times) for name, times in found.items()}
    ratios = [a / b for a, b in zip(found["one after the other"], found["together"], strict=True)]
    print(
        f"MLP 3×{asked.width} of {asked.inputs} inputs, {asked.samples} samples, {asked.points} points, {device}, "
        f"{second.threads} threads: " + ", ".join(f"{name} {value:.2f} s" for name, value in medians.items())
    )
    print(
        f"{statistics.median(ratios):.2f} × faster ({min(ratios):.2f} to {max(ratios):.2f}, {asked.repeats} rounds); "
        f"losses at most {apart:.1e} apart"
    )


if __name__ == "__main__":
    main()
