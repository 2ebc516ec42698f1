"""Reading, with safetensors' own writer as the oracle and hand-made malformed files."""

import hashlib
import json
import os
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from connectivity_hooks import memory
from connectivity_hooks.checkpoints import contents, convert, read, read_together, require_finite
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
    "half a character in a name": lambda f: raw(f, b'{"a\\ud800":%s}' % json.dumps(entry()).encode(), b"\0" * 4),
    "a list for a type": lambda f: raw(f, {"a": entry(dtype=["F32"])}, b"\0" * 4),
    "an object for a type": lambda f: raw(f, {"a": entry(dtype={"F32": 1})}, b"\0" * 4),
    "an empty tensor of endless axes": lambda f: raw(f, {"a": entry(shape=(0, 2**61, 8), offsets=(0, 0))}),
    "a number of ten thousand digits": lambda f: raw(f, b'{"a":' + b"9" * 10_000 + b"}"),
    "many names, one twice": lambda f: raw(
        f, b"{" + b",".join(b'"%d":%s' % (i % 99_999, json.dumps(entry()).encode()) for i in range(100_000)) + b"}"
    ),
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


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 0x04034B50 % 2**16, 66176])
def test_a_header_whose_length_looks_like_a_pickle_is_a_header(tmp_path, length):
    header = json.dumps({"a": entry()}).ljust(length).encode()
    file = raw(tmp_path / "x.safetensors", header, torch.ones(1).numpy().tobytes())
    assert torch.equal(read(file).weights["a"], torch.ones(1))
    convert(file, tmp_path / "y.safetensors")
    assert torch.equal(load_file(tmp_path / "y.safetensors")["a"], torch.ones(1))


@pytest.mark.parametrize(
    ("code", "size", "advice"), [("C64", 8, "view_as_real"), ("F8_E4M3", 1, "float32"), ("U16", 2, "int64")]
)
def test_types_that_are_not_read_come_with_advice_that_loses_nothing(tmp_path, code, size, advice):
    with pytest.raises(InputError, match=f"{code}, which is not read; .*{advice}"):
        read(raw(tmp_path / "x.safetensors", {"a": entry(dtype=code, offsets=(0, size))}, b"\0" * size))


def sparse(file, values):
    """Write a file that has room for `values` numbers and takes none on the disk."""
    raw(file, {"w": entry(shape=(values,), offsets=(0, 4 * values))})
    os.truncate(file, file.stat().st_size + 4 * values)
    return file


def test_names_shapes_and_types_are_known_before_any_tensor_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "_read_tensor", None)
    found = read(sparse(tmp_path / "x.safetensors", 10**10))
    assert found.outline["w"].shape == (10**10,)
    assert found.outline["w"].dtype == torch.float32


def test_what_does_not_fit_into_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 5_000_000)
    files = [sparse(tmp_path / f"{name}.safetensors", 10**6) for name in "ab"]
    with pytest.raises(InputError, match=r"a\.safetensors and .*b\.safetensors: needs 8 MB of memory, 5 MB are free"):
        read_together(*map(read, files))
    assert read(files[0]).weights["w"].numel() == 10**6


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "x.safetensors")
    checkpoint = read(tmp_path / "x.safetensors")
    save_file({"a": torch.ones(4)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="changed while it was in use"):
        _ = checkpoint.weights


def test_large_and_small_tensors_are_hashed_in_the_order_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "_CHUNK", 1 << 12)
    monkeypatch.setattr(contents, "_SMALL", 1 << 10)
    expected = {f"{i}": torch.randn(size) for i, size in enumerate((3, 5000, 1, 1024, 0, 999, 4096))}
    save_file(expected, tmp_path / "x.safetensors")
    found = read(tmp_path / "x.safetensors")
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.items())
    assert found.sha256 == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_value_among_the_largest_is_found_wherever_it_is(tmp_path, monkeypatch, dtype, bad):
    monkeypatch.setattr(contents, "_CHUNK", 1 << 10)
    tensor = torch.full((5000,), torch.finfo(dtype).max, dtype=dtype)
    save_file({"w": tensor}, tmp_path / "good.safetensors")
    require_finite(read(tmp_path / "good.safetensors"))
    for place in (0, 2500, 4999):
        tensor = torch.full((5000,), torch.finfo(dtype).max, dtype=dtype)
        tensor[place] = bad
        save_file({"w": tensor}, tmp_path / "bad.safetensors")
        with pytest.raises(InputError, match="w holds 1 NaN or Inf of 5000"):
            require_finite(read(tmp_path / "bad.safetensors"))


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
        ("n" * 400, "not an index"),
        ("a\0b", "outside its folder"),
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
