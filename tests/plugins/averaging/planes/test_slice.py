"""Slices along random directions: filters as long as the checkpoint's, seeded, and measured where they say."""

import numpy as np
import pytest
import torch
from small_networks import image_task, mlp, vector_task
from torch import nn
from written_networks import drawn, loss_of, write

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks_averaging.planes.directions import random_directions
from connectivity_hooks_averaging.planes.functions import slice_around


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.back = nn.ConvTranspose2d(4, 3, 2)
        self.head = nn.Linear(3, 3)
        self.again = self.head

    def forward(self, x):
        return self.again(self.head(self.back(self.norm(self.conv(x))).mean((2, 3))))


def network():
    return mlp(8)


def test_each_filter_is_as_long_as_that_of_the_weights():
    weights = drawn(Mixed, 0)
    first, second = random_directions(Mixed(), weights, 2, seed=1)
    for direction in (first, second):
        assert set(direction) == {"conv.weight", "back.weight", "head.weight", "again.weight"}
        for channel in range(4):
            assert direction["conv.weight"][channel].norm() == pytest.approx(
                weights["conv.weight"][channel].norm().item()
            )
        for channel in range(3):
            expected = weights["back.weight"][:, channel].norm().item()
            assert direction["back.weight"][:, channel].norm() == pytest.approx(expected)
            assert direction["head.weight"][channel].norm() == pytest.approx(
                weights["head.weight"][channel].norm().item()
            )
        assert torch.equal(direction["head.weight"], direction["again.weight"])
    assert not torch.allclose(first["conv.weight"], second["conv.weight"])


def test_the_same_seed_draws_the_same():
    weights = drawn(Mixed, 0)
    one, same, other = (random_directions(Mixed(), weights, 1, seed)[0] for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["conv.weight"], other["conv.weight"])


def test_filters_of_zeros_stay():
    weights = drawn(network, 0)
    weights["1.weight"][2] = 0
    (direction,) = random_directions(network(), weights, 1, seed=0)
    assert not direction["1.weight"][2].any()
    assert direction["1.weight"].isfinite().all()


@pytest.mark.parametrize("count", [1, 2])
def test_losses_are_those_of_weights_assembled_by_hand(tmp_path, count):
    task, weights = vector_task(network), drawn(network, 0)
    found = slice_around(write(tmp_path, "a", weights), task, directions=count, points=3, reach=0.5, seed=2)
    directions = random_directions(network(), weights, count, seed=2)
    assert len(found.scores) == 3**count
    for at, scores in zip(found.grid.places(), found.scores, strict=True):
        here = dict(weights)
        for share, direction in zip(at, directions, strict=True):
            here |= {key: here[key] + share * each for key, each in direction.items()}
        assert scores["train"].loss == pytest.approx(loss_of(task, here)[0], rel=1e-4)
    middle = found.scores[len(found.scores) // 2]
    assert middle["train"].loss == found.points[0].scores["train"].loss


def test_tied_weights_move_as_one_in_a_convolution(tmp_path):
    task = image_task(Mixed)
    found = slice_around(write_untied(tmp_path), task, directions=1, points=3)
    assert found.mixes_statistics
    assert all(each["train"].loss > 0 for each in found.scores)


def write_untied(folder):
    weights = {key: each.clone() for key, each in drawn(Mixed, 0).items()}
    return write(folder, "a", weights)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"directions": each} for each in (3, 1.5, "1")),
        *({"reach": each} for each in (0.0, 1e300, float("nan"), "1")),
        *({"points": each} for each in (1, "3")),
        {"seed": "x"},
    ],
)
def test_wrong_arguments_are_wrong_usage(tmp_path, arguments):
    with pytest.raises(UsageError, match=f"slice: {next(iter(arguments))}: expected"):
        slice_around(write(tmp_path, "a", drawn(network, 0)), vector_task(network), **arguments)


def test_a_path_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="is a path"):
        slice_around(tmp_path / "a.path.safetensors", vector_task(network))


def test_several_checkpoints_are_none():
    with pytest.raises(UsageError, match="expected a file or folder"):
        slice_around(["a.safetensors"], vector_task(network))


def test_the_largest_range_is_drawn(tmp_path):
    found = slice_around(
        write(tmp_path, "a", drawn(network, 0)), vector_task(network), points=3, reach=1000, directions=1
    )
    found.save(tmp_path / "out")
    assert (tmp_path / "out" / "slice.png").exists()


def test_so_is_the_smallest(tmp_path):
    file = write(tmp_path, "a", drawn(network, 0))
    slice_around(file, vector_task(network), points=3, reach=1e-6).save(tmp_path / "out")
    assert (tmp_path / "out" / "slice.png").exists()


def test_numbers_of_numpy_are_numbers(tmp_path):
    file, task = write(tmp_path, "a", drawn(network, 0)), vector_task(network)
    given = {"directions": np.int64(1), "points": np.int64(2), "reach": np.float32(0.5), "seed": np.int64(3)}
    found = slice_around(file, task, **given, keep=tmp_path / "out")
    assert found.scores == slice_around(file, task, directions=1, points=2, reach=0.5, seed=3).scores
