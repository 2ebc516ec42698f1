"""Reading, with safetensors' own writer as the oracle and hand-made malformed files."""

import hashlib
import json
import os
import time

import pytest
import torch
from safetensors.torch import save_file

from connectivity_hooks.checkpoints import read, require_finite
from connectivity_hooks.errors import InputError


def tensors():
    return {
        "w": torch.randn(3, 4), "half": torch.randn(5).half(), "brain": torch.randn(2, 2).bfloat16(),
        "double": torch.randn(3).double(), "steps": torch.tensor(7), "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 3), "bytes": torch.arange(5, dtype=torch.uint8),
    }  # fmt: skip


def raw(file, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return file


def entry(shape=(1,), offsets=(0, 4), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_every_type_is_read_as_it_was_written(tmp_path):
    expected = tensors()
    save_file(expected, tmp_path / "x.safetensors", {"note": "hello"})
    found = read(tmp_path / "x.safetensors")
    assert found.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found.weights[name], tensor)
        assert found.weights[name].dtype == tensor.dtype
    assert found.metadata == {"note": "hello"}
    assert found.sha256 == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()


MALFORMED = {
    "empty": lambda f: f.write_bytes(b""),
    "short": lambda f: f.write_bytes(b"\x01\x02"),
    "absurd header": lambda f: f.write_bytes(b"\xff" * 16),
    "truncated header": lambda f: f.write_bytes((500).to_bytes(8, "little") + b"{}"),
    "not json": lambda f: raw(f, b"{nope"),
    "not an object": lambda f: raw(f, [1]),
    "deep json": lambda f: raw(f, b"[" * 100000),
    "truncated body": lambda f: raw(f, {"a": entry()}, b"\0\0"),
    "trailing bytes": lambda f: raw(f, {"a": entry()}, b"\0" * 9),
    "hole": lambda f: raw(f, {"a": entry(), "b": entry(offsets=(8, 12))}, b"\0" * 12),
    "overlap": lambda f: raw(f, {"a": entry(), "b": entry(offsets=(2, 6))}, b"\0" * 6),
    "size mismatch": lambda f: raw(f, {"a": entry(shape=(2,))}, b"\0" * 4),
    "overflow": lambda f: raw(f, {"a": entry(shape=(2**61, 8))}, b"\0" * 4),
    "negative": lambda f: raw(f, {"a": entry(shape=(-1,))}, b"\0" * 4),
    "boolean offsets": lambda f: raw(f, {"a": entry(offsets=(False, 4))}, b"\0" * 4),
    "unknown type": lambda f: raw(f, {"a": entry(dtype="Q7")}, b"\0" * 4),
    "float8": lambda f: raw(f, {"a": entry(dtype="F8_E5M2", offsets=(0, 1))}, b"\0"),
    "duplicate names": lambda f: raw(f, b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 4),
    "metadata of numbers": lambda f: raw(f, {"__metadata__": {"a": 1}}),
    "nul in a name": lambda f: raw(f, {"a\0b": entry()}, b"\0" * 4),
    "escape in a name": lambda f: raw(f, {"\x1b[31mred": entry()}, b"\0" * 4),
    "endless name": lambda f: raw(f, {"a" * 5000: entry()}, b"\0" * 4),
    "renamed pickle": lambda f: torch.save({"a": torch.ones(1)}, f),
    "old pickle": lambda f: torch.save({"a": torch.ones(1)}, f, _use_new_zipfile_serialization=False),
    "many tensors, truncated": lambda f: raw(f, {str(i): entry(offsets=(4 * i, 4 * i + 4)) for i in range(100_000)}),
    "folder": lambda f: f.mkdir(),
    "pipe": lambda f: os.mkfifo(f),
    "missing": lambda f: None,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_in_one_line_at_once(tmp_path, case):
    file = tmp_path / "bad.safetensors"
    MALFORMED[case](file)
    started = time.process_time()
    with pytest.raises(InputError) as error:
        read(file)
    assert time.process_time() - started < 10  # of processor time, which no neighbour stretches; most take milliseconds
    assert str(error.value).startswith(f"{file}: ")
    assert str(error.value).isprintable()


def test_a_device_is_refused():
    with pytest.raises(InputError, match="not a regular file"):
        read("/dev/zero")


def test_names_that_look_like_paths_or_markup_are_data(tmp_path):
    save_file({"../x": torch.ones(1), "<img onerror=alert(1)>": torch.ones(1)}, tmp_path / "x.safetensors")
    assert set(read(tmp_path / "x.safetensors").weights) == {"../x", "<img onerror=alert(1)>"}


def test_nan_and_inf_are_found_and_named(tmp_path):
    save_file({"good": torch.ones(2), "bad": torch.tensor([1, torch.nan, -torch.inf])}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="bad holds 2 NaN or Inf of 3"):
        require_finite(read(tmp_path / "x.safetensors"))


def sharded(tmp_path, weight_map):
    save_file({"a": torch.ones(2), "extra": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "two.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return tmp_path / "model.safetensors.index.json"


def test_shards_are_read_as_the_index_says(tmp_path):
    index = sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    found = read(tmp_path)
    assert {name: len(tensor) for name, tensor in found.weights.items()} == {"a": 2, "b": 3}
    assert "1 tensors" in found.notes[0]
    digests = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("one.safetensors", "two.safetensors")
    ]
    assert found.sha256 == hashlib.sha256(index.read_bytes() + "".join(digests).encode()).hexdigest()


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("../outside.safetensors", "outside its folder"),
        ("/etc/passwd", "outside its folder"),
        ("sub/one.safetensors", "outside its folder"),
        ("..", "outside its folder"),
        ("link.safetensors", "symbolic link"),
        ("gone.safetensors", "is missing"),
        ("two.safetensors", "should be in two.safetensors"),
        (7, "not an index"),
    ],
)
def test_a_hostile_index_is_refused_and_nothing_outside_is_opened(tmp_path, shard, words):
    (tmp_path / "in").mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "outside.safetensors")
    (tmp_path / "in" / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    index = sharded(tmp_path / "in", {"a": shard})
    with pytest.raises(InputError, match=words):
        read(index)


def test_a_folder_with_several_checkpoints_asks_which(tmp_path):
    for name in ("a", "b"):
        save_file({"w": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match=r"found a\.safetensors, b\.safetensors; name the file"):
        read(tmp_path)
