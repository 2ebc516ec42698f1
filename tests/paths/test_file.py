"""Path files, read back by the package and by safetensors alone from the format's description."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.paths.edits import Edit


def certified_like_path():
    """Five points: blocks of rows, of columns, of both, a whole tensor, and a point where nothing changes."""
    generator = torch.Generator().manual_seed(0)
    point = {
        "conv.weight": torch.randn(8, 6, 3, 3, generator=generator),
        "fc.weight": torch.randn(10, 8, generator=generator),
        "fc.bias": torch.randn(10, generator=generator),
        "steps": torch.tensor(3),
    }
    points = [point]
    for edit in range(4):
        point = {name: tensor.clone() for name, tensor in point.items()}
        if edit == 0:
            point["conv.weight"][2:4, 1:3] = 0
            point["fc.bias"][[1, 7]] = 9
        elif edit == 1:
            point["fc.weight"][:, 3] = 1
            point["steps"] = torch.tensor(4)
        elif edit == 2:
            point["fc.weight"] = -point["fc.weight"]
        points.append(point)
    guarantees = ["constant", "convex", "measured", "constant"]
    return points, Path.from_points(points, guarantees=guarantees, positions=[0, 0.2, 0.4, 0.9, 1])


def points_by_the_format(file):
    tensors = load_file(file)
    with safe_open(file, "pt") as handle:
        metadata = handle.metadata()
    points, point = [], {}
    for index in range(int(metadata["points"])):
        point = dict(point)
        for key, tensor in tensors.items():
            if key.startswith(f"point.{index}/"):
                point[key.partition("/")[2]] = tensor
        blocks = [key for key in tensors if key.startswith(f"block.{index}.")]
        for key in sorted(blocks, key=lambda key: int(key.split("/")[0].split(".")[2])):
            place, name = key.removeprefix("block.").split("/", 1)
            value = point[name].clone()
            rows = tensors.get(f"rows.{place}/{name}", torch.arange(value.shape[0]))
            if value.ndim == 1:
                value[rows] = tensors[key]
            else:
                cols = tensors.get(f"cols.{place}/{name}", torch.arange(value.shape[1]))
                value[rows[:, None], cols[None, :]] = tensors[key]
            point[name] = value
        points.append(point)
    return points, metadata


def test_a_stranger_reads_the_same_points_from_the_format_alone(tmp_path):
    points, path = certified_like_path()
    path.save(tmp_path / "p.path.safetensors")
    read, metadata = points_by_the_format(tmp_path / "p.path.safetensors")
    for expected, found in zip(points, read, strict=True):
        assert expected.keys() == found.keys()
        assert all(same(found[name], tensor) for name, tensor in expected.items())
    assert metadata["format"] == "connectivity_hooks.path/1"
    assert json.loads(metadata["guarantees"]) == ["constant", "convex", "measured", "constant"]
    assert json.loads(metadata["positions"]) == [0, 0.2, 0.4, 0.9, 1]


def test_a_path_survives_the_file(tmp_path):
    _points, path = certified_like_path()
    ends = (EndPoint("a.safetensors", "0" * 64, "float32"), EndPoint("b.safetensors", "1" * 64, "bfloat16"))
    path = replace(path, end_points=ends, builder="test", options={"seed": 3}, alignment={"aligner": "none"})
    path.save(tmp_path / "p.path.safetensors")
    read = Path.load(tmp_path / "p.path.safetensors")
    assert (read.end_points, read.builder, read.options, read.alignment) == (
        ends,
        "test",
        {"seed": 3},
        path.alignment,
    )
    assert (read.positions, read.guarantees, read.basis) == (path.positions, path.guarantees, path.basis)
    for t in (0, 0.1, 0.2, 0.33, 0.95, 1):
        assert all(same(read(t)[name], tensor) for name, tensor in path(t).items())


def test_a_block_that_changes_costs_a_block_on_disk(tmp_path):
    a = {"w": torch.randn(500, 500)}
    b = {"w": a["w"].clone()}
    b["w"][:10] = 0
    Path.from_points([a, b, a, b]).save(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_size < 1.1 * 500 * 500 * 4


def tampered(tmp_path, change_tensors=lambda tensors: None, **metadata):
    _, path = certified_like_path()
    path.save(tmp_path / "good.safetensors")
    tensors = load_file(tmp_path / "good.safetensors")
    with safe_open(tmp_path / "good.safetensors", "pt") as handle:
        header = dict(handle.metadata())
    change_tensors(tensors)
    file = tmp_path / "bad.safetensors"
    save_file(tensors, file, {key: value for key, value in {**header, **metadata}.items() if value is not None})
    return file


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": None},
        {"format": "connectivity_hooks.path/2"},
        {"points": "7"},
        {"points": "many"},
        {"points": None},
        {"positions": "[0, 1]"},
        {"positions": "[0, 0.4, 0.2, 0.9, 1]"},
        {"positions": "[0, NaN, 0.4, 0.9, 1]"},
        {"positions": "{}"},
        {"guarantees": '["constant"]'},
        {"guarantees": '["constant", "convex", "certain", "constant"]'},
        {"guarantees": "not json"},
        {"basis": "spline"},
        {"end_points": '[{"file": "a"}]'},
        {"end_points": "[1, 2]"},
        {"end_points": '[{"file": "a", "sha256": "0"}, {"file": "b", "sha256": "1"}, {"file": "c", "sha256": "2"}]'},
        {"end_points": '[{"file": "a", "sha256": 1}, {"file": "b", "sha256": "1"}]'},
        {"end_points": '[{"file": "a", "sha256": "0", "more": 1}, {"file": "b", "sha256": "1"}]'},
        {"end_points": '[{"file": "\\ud800", "sha256": "0"}, {"file": "b", "sha256": "1"}]'},
        {"positions": f"[0, 0.2, 0.4, {10**400}, 1]"},
        {"positions": "[0, 0.2, 0.4, 1e400, 1]"},
        {"positions": '[0, "0.2", 0.4, 0.9, 1]'},
        {"positions": "[false, 0.2, 0.4, 0.9, true]"},
        {"positions": "[" * 100_000},
        {"points": "9" * 5000},
        {"points": "1000000000000"},
        {"points": "5.0"},
        {"guarantees": '[["constant"], "convex", "measured", "constant"]'},
        {"guarantees": '{"constant": 1, "convex": 2, "measured": 3}'},
        {"options": "[]"},
        {"options": "3"},
        {"options": '"seed"'},
        {"options": "null"},
        {"options": '{"a": ' + "[" * 100 + "]" * 100 + "}"},
        {"options": '{"a": ' + "9" * 5000 + "}"},
        {"alignment": "[1]"},
        {"alignment": "true"},
    ],
)
def test_malformed_metadata_is_refused_in_one_line(tmp_path, metadata):
    file = tampered(tmp_path, **metadata)
    with pytest.raises(InputError) as error:
        Path.load(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.update({"stray": torch.ones(1)}),
        lambda tensors: tensors.update({"point.9/fc.bias": torch.ones(10)}),
        lambda tensors: tensors.update({"point.2/unknown": torch.ones(10)}),
        lambda tensors: tensors.update({"point.2/fc.bias": torch.ones(9)}),
        lambda tensors: tensors.update({"point.2/fc.bias": torch.ones(10, dtype=torch.float64)}),
        lambda tensors: tensors.update({"rows.3.0/fc.bias": torch.tensor([1])}),
        lambda tensors: tensors.update({"block.0.0/fc.bias": torch.ones(10)}),
        lambda tensors: tensors.update({"block.3.0/fc.bias": torch.ones(1), "rows.3.0/fc.bias": torch.tensor([10])}),
        lambda tensors: tensors.update({"block.3.0/fc.bias": torch.ones(2), "rows.3.0/fc.bias": torch.tensor([1, 1])}),
        lambda tensors: tensors.update({"block.3.0/fc.bias": torch.ones(1), "rows.3.0/fc.bias": torch.tensor([-1])}),
        lambda tensors: tensors.update({"block.3.0/fc.bias": torch.ones(1), "cols.3.0/fc.bias": torch.tensor([0])}),
    ],
)
def test_malformed_tensors_are_refused_in_one_line(tmp_path, change):
    with pytest.raises(InputError, match=r"bad\.safetensors: is not a valid path file: .+"):
        Path.load(tampered(tmp_path, change))


def test_what_loads_is_written_and_loads_again(tmp_path):
    options = '{"rate": 1e400, "limit": NaN, "deep": [[{"a": [null, "ü"]}]], "huge": ' + "9" * 300 + "}"
    path = Path.load(
        tampered(tmp_path, options=options, alignment='{"aligner": "none", "record": {}}', end_points="null")
    )
    path.save(tmp_path / "again.safetensors")
    again = Path.load(tmp_path / "again.safetensors")
    assert json.dumps(dict(again.options)) == json.dumps(dict(path.options))
    assert (again.alignment, again.end_points, again.positions) == (path.alignment, None, path.positions)


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    _, path = certified_like_path()
    for change in (
        {"options": {"weights": torch.ones(2)}},
        {"alignment": {"record": {1j}}},
        {"options": {"a": "\ud800"}},
    ):
        with pytest.raises(InputError, match=r"p\.safetensors: is not what a path can be written to"):
            replace(path, **change).save(tmp_path / "p.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_positions_of_a_library_s_own_kind_are_written_as_numbers(tmp_path):
    _, path = certified_like_path()
    positions = tuple(np.float32(position) for position in (0, 0.25, 0.5, 0.75, 1))
    replace(path, positions=positions).save(tmp_path / "p.safetensors")
    assert Path.load(tmp_path / "p.safetensors").positions == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_a_curve_of_a_degree_that_cannot_be_computed_is_refused(tmp_path):
    tensors = {"point.0/w": torch.zeros(1), "point.1200/w": torch.ones(1)}
    metadata = {
        "format": "connectivity_hooks.path/1",
        "basis": "bezier",
        "points": "1201",
        "guarantees": '["measured"]',
    }
    save_file(
        tensors, tmp_path / "p.safetensors", {**metadata, "positions": json.dumps([i / 1200 for i in range(1201)])}
    )
    with pytest.raises(InputError, match="bezier path has at most 1001"):
        Path.load(tmp_path / "p.safetensors")


def test_equal_paths_are_equal_files_though_read_from_one(tmp_path):
    points, _ = certified_like_path()
    for name, ordered in (("one", list), ("two", lambda names: list(reversed(list(names))))):
        path = Path.from_points([{key: point[key] for key in ordered(point)} for point in points])
        path.save(tmp_path / name)
    Path.load(tmp_path / "one").save(tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_blocks_of_one_tensor_are_written_in_their_order(tmp_path):
    start = {"b": torch.zeros(4), "a": torch.zeros(4)}
    rows = torch.tensor([0, 1]), torch.tensor([1, 2])
    twos = torch.full((2,), 2.0)
    edits = Edit("b", torch.ones(2), rows[0]), Edit("a", torch.ones(2), rows[0]), Edit("b", twos, rows[1])
    Path(start=start, edits=(edits,)).save(tmp_path / "p")
    assert Path.load(tmp_path / "p").point(1)["b"].tolist() == [1, 2, 2, 0]
