"""A reader of path files written from docs/path-format.md alone: safetensors and PyTorch, nothing of the package."""

import json

import torch
from safetensors import safe_open


def read_points(file):
    """Return the points, their positions and the guarantees of a polyline."""
    stored = safe_open(file, "pt")
    names, header = list(stored.keys()), stored.metadata()
    points = []
    for index in range(int(header["points"])):
        point = dict(points[-1]) if points else {}
        for key in names:
            if key.startswith(f"point.{index}/"):
                point[key.partition("/")[2]] = stored.get_tensor(key)
        blocks = [key for key in names if key.startswith(f"block.{index}.")]
        for key in sorted(blocks, key=lambda key: int(key.partition("/")[0].rpartition(".")[2])):
            place, _, name = key.removeprefix("block.").partition("/")
            point[name] = _with_block(point[name].clone(), stored, place, name, names)
        points.append(point)
    return points, json.loads(header["positions"]), json.loads(header["guarantees"])


def _with_block(tensor, stored, place, name, names):
    def indices(axis):
        key = f"{axis}.{place}/{name}"
        return stored.get_tensor(key) if key in names else None

    values, rows, cols = stored.get_tensor(f"block.{place}/{name}"), indices("rows"), indices("cols")
    if cols is None:
        tensor[rows] = values
    elif rows is None:
        tensor[:, cols] = values
    else:
        tensor[rows[:, None], cols[None, :]] = values
    return tensor


def between(before, after, share):
    """Return the weights at a share of a segment, floating ones in float64."""
    return {
        name: torch.lerp(tensor.double(), after[name].double(), share) if tensor.is_floating_point() else tensor
        for name, tensor in before.items()
    }
