"""Evaluations made by hand, and names that someone made to do harm."""

from dataclasses import replace

import numpy as np
import torch

from connectivity_hooks.evaluation import Evaluation, Measurement
from connectivity_hooks.evaluation.barriers import barriers
from connectivity_hooks.paths import MEASURED, EndPoint, Path
from connectivity_hooks.verification.proof import Proof

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    r"$\frac{$",
    "[/red]",
    "=HYPERLINK(1)",
    "a\x1b[31m\nb",
]


def evaluation(builder="linear", top=1.0, errors=True, splits=("train", "test"), guarantees=("measured",), count=11):
    curves = {}
    for split in splits:
        points = []
        for index in range(count):
            t = index / (count - 1)
            loss = 0.1 + 4 * top * t * (1 - t)
            error = (0.01 + 0.5 * t * (1 - t)) if errors else None
            rise = (loss - 0.1, 0.01, error and error - 0.01, error and 0.002)
            points.append(
                Measurement(t, split, loss, 0.01, error, error and 0.002, loss - 0.1, 0.01, *rise, *rise, "forward")
            )
        curves[split] = tuple(points)
    arc = np.linspace(0, 1, count)
    path = Path.from_points([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], guarantees=guarantees)
    return Evaluation(
        path=replace(path, builder=builder, options={"seed": 0}),
        task={"model": "m", "data": "d", "samples": dict.fromkeys(splits, 10)},
        curves=curves,
        barriers={name: barriers(curve, arc) for name, curve in curves.items()},
        length=1.4,
        guarantees=path.guarantees,
        deviations=(),
        proof=Proof(() if MEASURED not in path.guarantees else ("1 of 1 segments are only measured",)),
        seconds=1.0,
    )


ENDS = (EndPoint("a.safetensors", "0" * 64, "float32"), EndPoint("b.safetensors", "1" * 64, "float32"))
