"""`align`: checkpoints that differ by an element of every group and a little noise come back into one frame."""

import json

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from connectivity_hooks.checkpoints import read, write_tensors
from connectivity_hooks.cli.connect import command as connect
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks.paths import Path
from connectivity_hooks.structure import read_program, read_symmetries, transformed
from connectivity_hooks.structure.symmetries.drawing import random_element
from connectivity_hooks_alignment.matching.together import match_together

CODE = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.GELU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 10))
"""


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.GELU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 10))


def copies(count, noise):
    """Return weights of a trained network and of noisy copies of it, each moved by random elements, in float64."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = net()
    digits = load_digits()
    x, y = torch.as_tensor(digits.data, dtype=torch.float32) / 16, torch.as_tensor(digits.target)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    symmetries = read_symmetries(read_program(model, torch.randn(2, 64)))
    first = {name: tensor.detach().double() for name, tensor in model.state_dict().items()}
    found = [first]
    for _ in range(count - 1):
        near = {name: tensor + noise * torch.randn(tensor.shape, generator=generator) for name, tensor in first.items()}
        elements = {each.space: random_element(each, generator) for each in symmetries.symmetries}
        found.append(transformed(symmetries, near, elements))
    return symmetries, found


def distance(a, b):
    return sum(float((a[name].double() - b[name].double()).square().sum()) for name in a) ** 0.5


@pytest.fixture
def files(tmp_path):
    _, weights = copies(3, 0.01)
    (tmp_path / "net.py").write_text(CODE)
    found = []
    for name, each in zip("abc", weights, strict=True):
        found.append(tmp_path / f"{name}.safetensors")
        write_tensors(found[-1], {key: tensor.float() for key, tensor in each.items()}, {"origin": name})
    return found


def align(files, tmp_path, *further):
    return exit_status(
        "connectivity-hooks",
        lambda: group,
        [
            "align", *map(str, files), "--model", f"{tmp_path / 'net.py'}:make", "--data", "digits", "--points", "3",
            "--refine", "0", "--out", str(tmp_path / "out"), *further,
        ]
    )  # fmt: skip


@pytest.mark.parametrize("further", [(), ("--align", "weight-matching")])
def test_copies_come_back_and_barriers_fall(files, tmp_path, further, capfd):
    assert align(files, tmp_path, *further, "--json") == 0
    content = json.loads(capfd.readouterr().out)
    assert json.loads((tmp_path / "out" / "alignment.json").read_text()) == content
    for split in ("train", "test"):
        before, after = (content["barriers"][split][when] for when in ("before", "after"))
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert after[one][other] == after[other][one] < 0.1 * before[one][other]
    records = [row["alignment"] for row in content["checkpoints"]]
    assert records[0] is None
    for found in records[1:]:
        assert found["record"]["coverage"] > 0.9
        assert found["record"]["demoted"] == []
        assert found["record"]["moved"] == {"spaces": 2, "of": 2}
        assert [words.partition(":")[0] for words in found["record"]["spaces"].values()] == ["S", "S±"]
    assert "from A to B to C is going from A to C" in content["maps"]
    first = read(files[0]).weights
    out = [read(tmp_path / "out" / f"{name}.safetensors") for name in "abc"]
    assert all(torch.equal(out[0].weights[name], tensor) for name, tensor in first.items())
    assert [end.metadata["origin"] for end in out] == ["a", "b", "c"]
    for end in out[1:]:
        assert distance(end.weights, first) < 0.5
    kept = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert kept == [
        "a.safetensors", "alignment.json", "b.safetensors", "barriers-test.svg", "barriers-train.svg", "c.safetensors",
    ]  # fmt: skip


def test_the_maps_agree_and_the_sum_of_products_never_falls():
    symmetries, weights = copies(4, 0.05)
    found = match_together(symmetries, weights)
    gains = [after - before for before, after in zip(found.products, found.products[1:], strict=False)]
    assert min(gains, default=0.0) >= -1e-9 * abs(found.products[0])
    assert found.elements[0] == {}
    moved = [
        transformed(symmetries, each, elements, like=weights[0])
        for each, elements in zip(weights, found.elements, strict=True)
    ]
    names = symmetries.moving
    pairs = sum(float((moved[i][name] * moved[j][name]).sum()) for i in range(4) for j in range(i) for name in names)
    assert pairs == pytest.approx(found.products[-1], rel=1e-9)
    assert max(distance(each, weights[0]) for each in moved) < 3.0 < min(distance(w, weights[0]) for w in weights[1:])


def test_stored_types_are_kept_where_they_hold_what_was_computed(files, tmp_path, capfd):
    narrow = {name: tensor.bfloat16() for name, tensor in read(files[1]).weights.items()}
    write_tensors(files[1], narrow, {})
    assert align(files, tmp_path) == 0
    out = capfd.readouterr().out
    assert "a to b: train barrier" in out
    for name in "bc":
        assert f"{name} was replaced by an equal copy aligned to a by together (2 of 2 spaces moved, coverage " in out
    assert {tensor.dtype for tensor in read(tmp_path / "out" / "b.safetensors").weights.values()} == {torch.bfloat16}


SINGLE, DOUBLE, HALF = torch.float32, torch.float64, torch.bfloat16


@pytest.mark.parametrize("further", [(), ("--align", "weight-matching")])
@pytest.mark.parametrize("types", [(SINGLE, SINGLE, DOUBLE), (HALF, HALF, DOUBLE), (DOUBLE, SINGLE, SINGLE)])
def test_checkpoints_of_different_types_are_brought_together(files, tmp_path, types, further):
    for file, dtype in zip(files, types, strict=True):
        write_tensors(file, {name: tensor.to(dtype) for name, tensor in read(file).weights.items()}, {})
    assert align(files, tmp_path, *further) == 0
    first = read(files[0]).weights
    out = [read(tmp_path / "out" / f"{name}.safetensors") for name in "abc"]
    for name, tensor in first.items():
        assert out[0].weights[name].dtype == types[0]
        assert torch.equal(out[0].weights[name], tensor)
    assert all(distance(end.weights, first) < 0.5 for end in out[1:])


@pytest.mark.parametrize("types", [(SINGLE, DOUBLE), (DOUBLE, HALF)])
@pytest.mark.parametrize("further", [(), ("--best.budget", "2steps")])
def test_two_checkpoints_of_different_types_are_connected(files, tmp_path, types, further):
    for file, dtype in zip(files, types, strict=False):
        write_tensors(file, {name: tensor.to(dtype) for name, tensor in read(file).weights.items()}, {})
    words = [
        *map(str, files[:2]), "--model", f"{tmp_path / 'net.py'}:make", "--data", "digits", "--points", "3",
        "--refine", "0", "--align", "best", *further, "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert exit_status("connect", lambda: connect, words) == 0
    path = Path.load(tmp_path / "out" / "linear.path.safetensors")
    assert distance(path.end, path.start) < 0.5


def test_an_aligned_end_is_said_by_connect_and_by_verify(files, tmp_path, capfd):
    task = ["--model", f"{tmp_path / 'net.py'}:make", "--data", "digits"]
    words = [*map(str, files[:2]), *task, "--points", "3", "--align", "weight-matching", "--out", str(tmp_path / "out")]
    assert exit_status("connect", lambda: connect, words) == 0
    said = "B was replaced by an equal copy aligned to A by weight-matching (2 of 2 spaces moved, coverage "
    assert said in capfd.readouterr().out
    path = tmp_path / "out" / "linear.path.safetensors"
    assert exit_status("connectivity-hooks", lambda: group, ["verify", str(path), *task]) == 0
    assert f"the file says: {said}" in capfd.readouterr().out
    assert exit_status("connect", lambda: connect, [*map(str, files[:2]), *task, "--points", "3"]) == 0
    assert "aligned" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("further", "status", "words"),
    [(("--align", "weigth-matching"), 2, "weight-matching"), (("--align", "none"), 2, "aligner")],
)
def test_wrong_names_are_told(files, tmp_path, further, status, words, capfd):
    assert align(files, tmp_path, *further) == status
    assert words in capfd.readouterr().err


def test_one_checkpoint_is_not_enough(files, tmp_path, capfd):
    assert align(files[:1], tmp_path) == 3
    assert "two or more" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_checkpoints_are_not_written_over(files, tmp_path, capfd):
    before = [file.read_bytes() for file in files]
    assert align(files, tmp_path, "--out", str(tmp_path)) in (2, 3)
    status = exit_status(
        "connectivity-hooks",
        lambda: group,
        [
            "align",
            *map(str, files),
            "--model",
            f"{tmp_path / 'net.py'}:make",
            "--data",
            "digits",
            "--out",
            str(tmp_path),
        ],
    )
    assert status == 3
    assert "written over" in capfd.readouterr().err
    assert [file.read_bytes() for file in files] == before


def test_barriers_need_a_point_between_the_ends(files, tmp_path, capfd):
    assert align(files[:2], tmp_path, "--points", "2") == 2
    capfd.readouterr()
    words = ["align", *map(str, files[:2]), "--model", f"{tmp_path / 'net.py'}:make", "--data", "digits"]
    words += ["--points", "2", "--refine", "0", "--out", str(tmp_path / "out")]
    assert exit_status("connectivity-hooks", lambda: group, words) == 2
    assert "between the ends" in capfd.readouterr().err
