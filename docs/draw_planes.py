"""Draws images/plane.svg and images/slice.svg: a Bezier curve in its plane, and the loss around one of its ends.

python docs/draw_planes.py
"""

from __future__ import annotations

import pathlib
import tempfile

import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.tasks import Task

STEPS = 600
IMAGES = pathlib.Path(__file__).parent / "images"


def trained(task: Task, seed: int) -> nn.Module:
    """Train the demonstration's network from a seed."""
    torch.manual_seed(seed)
    model = task.factory()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(STEPS):
        few = torch.randint(len(task.train), (100,))
        loss = nn.functional.cross_entropy(model(task.train.inputs[few]), task.train.targets()[few])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def main() -> None:
    """Train two networks and a curve between them, and draw both pictures."""
    task = ch.make_task(model="connectivity_hooks.demo:network", data="digits")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ends = [folder / "A.safetensors", folder / "B.safetensors"]
        for seed, end in enumerate(ends):
            ch.save(trained(task, seed), end)
        ch.connect(*ends, task=task, builder="bezier", budget="1000steps").save(folder / "curve.path.safetensors")
        found = ch.plane([folder / "curve.path.safetensors"], task, points=31)
        print(*found.sentences, sep="\n")
        found.save(folder)
        around = ch.slice(ends[0], task, points=31)
        print(*around.sentences, sep="\n")
        around.save(folder)
        for picture in ("plane.svg", "slice.svg"):
            (IMAGES / picture).write_bytes((folder / picture).read_bytes())


if __name__ == "__main__":
    main()
