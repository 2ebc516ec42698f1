"""What a plane of 31 x 31 points costs beside plain passes with the weights assembled by hand.

python benchmarks/plane.py --repeats 5
"""

import argparse
import pathlib
import statistics
import tempfile

import torch
from pairing import seconds
from torch import nn

from connectivity_hooks.checkpoints import write_tensors
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_averaging.planes.functions import plane


def mlp(inputs, width):
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def by_hand(task, weights, places, shares):
    """Return the mean loss at every place, as a loop of a few lines makes it."""
    model, losses = task.model(), []
    split = task.train
    batches = list(split.batches(task.batch_size))
    with torch.no_grad():
        for place in places:
            parts = shares(*place)
            here = {key: sum(c * each[key] for c, each in zip(parts, weights, strict=True)) for key in weights[0]}
            model.load_state_dict(here)
            total = sum(nn.functional.cross_entropy(model(x), y, reduction="sum").double() for x, y in batches)
            losses.append((total / len(split)).item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=31)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.manual_seed(0)
    x, y = torch.randn(asked.samples, asked.inputs), torch.randint(0, 10, (asked.samples,))
    split = CachedSplit("train", x.to(device), y.to(device))
    task = Task(lambda: mlp(asked.inputs, asked.width), split, device=device)
    weights = [mlp(asked.inputs, asked.width).to(device).state_dict() for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / f"{name}.safetensors" for name in "abc"]
        for file, each in zip(files, weights, strict=True):
            write_tensors(file, {key: tensor.cpu() for key, tensor in each.items()}, {})
        found = plane(files, task, points=asked.points)
        base, (foot, height) = found.points[1].at[0], found.points[2].at

        def shares(across, up):
            c = up / height
            b = (across - c * foot) / base
            return 1 - b - c, b, c

        places, results = found.grid.places(), {}

        def plain():
            results["plain"] = by_hand(task, weights, places, shares)

        def ours():
            keep = pathlib.Path(folder) / f"kept{len(list(pathlib.Path(folder).iterdir()))}"
            results["plane"] = plane(files, task, points=asked.points, keep=keep)

        found = {"plain": [], "plane": []}
        for _ in range(asked.repeats):
            for name, run in (("plain", plain), ("plane", ours)):
                found[name].append(seconds(run))
    apart = max(
        abs(one - other["train"].loss) for one, other in zip(results["plain"], results["plane"].scores, strict=True)
    )
    ratios = [a / b for a, b in zip(found["plane"], found["plain"], strict=True)]
    print(
        f"MLP of {asked.inputs} inputs, width {asked.width}, {asked.samples} samples, {asked.points}² points, "
        f"{device}, "
        f"{torch.get_num_threads()} threads: "
        + ", ".join(f"{name} {statistics.median(times):.2f} s" for name, times in found.items())
    )
    print(
        f"plane takes {statistics.median(ratios):.2f} × the plain passes ({min(ratios):.2f} to {max(ratios):.2f}, "
        f"{asked.repeats} rounds); losses at most {apart:.1e} apart"
    )


if __name__ == "__main__":
    main()
