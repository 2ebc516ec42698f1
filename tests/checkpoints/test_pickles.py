import argparse
import os
import pathlib
import re
import shutil
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from connectivity_hooks import memory
from connectivity_hooks.checkpoints import convert, read
from connectivity_hooks.checkpoints.pickles import load_plain
from connectivity_hooks.errors import InputError

WEIGHTS = {"w": torch.ones(2, 2), "b": torch.zeros(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": w, "args": argparse.Namespace(lr=1)},
    ],
)
def test_the_state_dict_is_found(tmp_path, wrap):
    torch.save(wrap(WEIGHTS), tmp_path / "x.pt")
    assert convert(tmp_path / "x.pt", tmp_path / "x.safetensors").tensors == 2
    assert torch.equal(load_file(tmp_path / "x.safetensors")["w"], WEIGHTS["w"])


def test_trained_and_averaged_weights_must_be_told_apart(tmp_path):
    averaged = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    torch.save({"state_dict": WEIGHTS, "state_dict_ema": averaged}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"state_dict \(trained\), state_dict_ema \(averaged\); say which with --key"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors", key="state_dict_ema")
    assert torch.equal(load_file(tmp_path / "x.safetensors")["w"], averaged["w"])


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    torch.save({"state_dict": WEIGHTS, "evil": Evil(tmp_path / "ran")}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="without running code") as error:
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "x.safetensors").exists()


def test_prefix_and_type_are_changed_on_the_way(tmp_path):
    shared = torch.ones(3)
    torch.save({"net.a": shared, "net.b": shared, "loss.c": shared, "note": "text"}, tmp_path / "x.pt")
    summary = convert(tmp_path / "x.pt", tmp_path / "x.safetensors", prefix="net.", dtype="bfloat16")
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == {"a", "b"}
    assert found["a"].dtype == torch.bfloat16
    assert any("note" in note for note in summary.notes)
    with pytest.raises(InputError, match=r"no tensors under 'nte\.'"):
        convert(tmp_path / "x.pt", tmp_path / "y.safetensors", prefix="nte.")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04nonsense"])
def test_what_is_no_pickle_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pt"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")


def converted(tmp_path, content, **options):
    torch.save(content, tmp_path / "x.pt")
    summary = convert(tmp_path / "x.pt", tmp_path / "x.safetensors", **options)
    assert len(read(tmp_path / "x.safetensors").weights) == summary.tensors
    return load_file(tmp_path / "x.safetensors")


def test_lightnings_averaged_and_trained_weights_are_both_named(tmp_path):
    """WeightAveraging (Lightning 2.6) puts the averaged weights under state_dict."""
    averaged = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    content = {
        "state_dict": averaged,
        "current_model_state": WEIGHTS,
        "averaging_state": {"n_averaged": torch.tensor(2)},
    }
    with pytest.raises(InputError, match=re.escape("state_dict (averaged), current_model_state (trained); say which")):
        converted(tmp_path, content)
    assert torch.equal(converted(tmp_path, content, key="state_dict")["w"], averaged["w"])
    assert torch.equal(converted(tmp_path, content, key="current_model_state")["w"], WEIGHTS["w"])


def test_an_average_beside_the_model_is_named_as_one(tmp_path):
    """As timm and many scripts write it: torch.save({"model": …, "model_ema": …})."""
    averaged = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    content = {"model": WEIGHTS, "model_ema": averaged, "epoch": 3}
    with pytest.raises(InputError, match=re.escape("model (trained), model_ema (averaged); say which with --key")):
        converted(tmp_path, content)
    assert not (tmp_path / "x.safetensors").exists()
    assert torch.equal(converted(tmp_path, content, key="model_ema")["w"], averaged["w"])
    assert torch.equal(converted(tmp_path, content, key="model")["w"], WEIGHTS["w"])


def test_an_average_inside_another_entry_is_found_and_taken_by_both_names(tmp_path):
    averaged = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    content = {"model": WEIGHTS, "ema": {"module": averaged, "updates": 7}, "optimizer": {"exp_avg": WEIGHTS}}
    with pytest.raises(InputError, match=re.escape("2 sets of weights: model (trained), ema.module (averaged); say")):
        converted(tmp_path, content)
    assert torch.equal(converted(tmp_path, content, key="ema.module")["w"], averaged["w"])
    with pytest.raises(InputError, match="has no weights under 'ema'; holds 2 sets"):
        converted(tmp_path, content, key="ema")


def test_another_set_of_the_same_weights_under_any_name_must_be_told_apart(tmp_path):
    teacher = {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}
    with pytest.raises(InputError, match="2 sets of weights: model, teacher; say which"):
        converted(tmp_path, {"model": WEIGHTS, "teacher": teacher, "statistics": {"mean": torch.ones(3)}})
    assert converted(tmp_path, {"model": WEIGHTS, "statistics": {"mean": torch.ones(3)}}).keys() == WEIGHTS.keys()


PLAIN = [
    np.float64(1.5), np.float32(-2), np.int64(7), np.bool_(True), np.str_("naïve"), np.complex64(1j), np.arange(6.0),
    np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3)), np.array(["a", "bc"]), np.array(3, dtype=">i4"),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=str)
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_values_beside_the_weights_are_plain_data(tmp_path, value, zipped):
    torch.save({"w": torch.ones(1), "best": value}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = load_plain(tmp_path / "x.pt")["best"]
    assert found.dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert np.array_equal(found, value)


def test_a_state_of_numpys_generator_and_paths_are_plain_data(tmp_path):
    arguments = argparse.Namespace(data=pathlib.Path("a/b"), seed=np.int64(1))
    content = {"state_dict": WEIGHTS, "rng": np.random.RandomState(0).get_state(), "arguments": arguments}
    assert converted(tmp_path, content).keys() == WEIGHTS.keys()


class Rebuilt:
    """Pickles as a call of a function with arguments, as a hostile file would have it."""

    def __init__(self, function, arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


SCALAR, RECONSTRUCT = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]


@pytest.mark.parametrize(
    "hostile",
    [
        Rebuilt(SCALAR, (np.dtype("O"), WEIGHTS)),
        Rebuilt(SCALAR, (np.dtype("f8"), b"short")),
        Rebuilt(SCALAR, (np.dtype("V999999"), b"")),
        Rebuilt(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (10**12,), np.dtype("f8"), False, b"few")),
        Rebuilt(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (-1,), np.dtype("f8"), False, b"")),
        Rebuilt(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (2,), np.dtype("O"), False, [1, 2])),
        Rebuilt(RECONSTRUCT, (np.ndarray, (0,), b"b"), "nothing"),
    ],
)
def test_numpy_values_that_are_not_what_they_say_are_refused(tmp_path, hostile):
    with pytest.raises(InputError, match="without running code"):
        converted(tmp_path, {"state_dict": WEIGHTS, "value": hostile})


UNWRITABLE = {
    "the name of the metadata": ({"__metadata__": torch.ones(1)}, "'__metadata__', which no module can have"),
    "no name": ({"": torch.ones(1)}, "'', which no module can have"),
    "a control character": ({"a\x1b[31m": torch.ones(1)}, "which no module can have"),
    "half a character": ({"a\ud800": torch.ones(1)}, "which no module can have"),
    "an endless name": ({"a" * 1025: torch.ones(1)}, "which no module can have"),
    "keys of two kinds": ({"w": torch.ones(1), 0: torch.ones(1)}, "under the key 0"),
    "a tuple as key": ({("w", 1): torch.ones(1)}, r"under the key \(a tuple\)"),
    "coordinates": ({"w": torch.eye(3).to_sparse()}, "w is not a dense tensor"),
    "no values": ({"w": torch.empty(3, device="meta")}, "w is on the meta device"),
    "complex": ({"w": torch.ones(3, dtype=torch.complex64)}, "w has type torch.complex64.*view_as_real"),
    "an endless view": ({"v": torch.ones(2), "w": torch.ones(1).expand(10**13)}, "needs 40 TB.*w$"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_our_own_reader_refuses_is_not_written(tmp_path, monkeypatch, case):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=10**12))
    content, words = UNWRITABLE[case]
    with pytest.raises(InputError, match=words) as error:
        converted(tmp_path, content)
    assert str(error.value).isprintable()
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.filterwarnings("ignore")  # PyTorch is about to give them up
def test_quantized_tensors_are_refused_by_name(tmp_path):
    torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="w is quantized"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")


def test_views_are_written_whole_and_in_the_type_asked_for(tmp_path):
    flipped = torch.ones(3, dtype=torch.complex64).mul(2j).conj().imag  # a view that negates what it shows
    found = converted(tmp_path, {"w": torch.ones(1).expand(4), "i": flipped, "n": torch.arange(3)}, dtype="bfloat16")
    assert torch.equal(found["w"], torch.ones(4, dtype=torch.bfloat16))
    assert torch.equal(found["i"], torch.full((3,), -2.0, dtype=torch.bfloat16))
    assert torch.equal(found["n"], torch.arange(3))


@pytest.mark.parametrize("prefix", ["net", "net."])
def test_a_prefix_is_stripped_with_its_dot(tmp_path, prefix):
    content = {"net.a": torch.ones(1), "net.b": torch.zeros(1), "loss": torch.ones(1)}
    assert converted(tmp_path, content, prefix=prefix).keys() == {"a", "b"}


def test_a_prefix_that_is_a_whole_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"'net\.a' is the whole name of a tensor"):
        converted(tmp_path, {"net.a": torch.ones(1), "net.b": torch.ones(1)}, prefix="net.a")


def test_a_zip_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    assert (tmp_path / "x.pt").stat().st_size < 100_000
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    with pytest.raises(InputError, match="needs 10 MB of memory, 1 MB are free"):
        load_plain(tmp_path / "x.pt")


@pytest.mark.parametrize("holds", ["tensor", "number", "beside"])
def test_a_key_whose_text_would_fill_memory_is_named_by_its_type(tmp_path, holds):
    key = ("k",)
    for _ in range(15):
        key = (key, key)
    tensor = torch.ones(2)
    state = {"tensor": {key: tensor}, "number": {key: 1.0}, "beside": {"w": tensor, key: 1.0}}[holds]
    torch.save(state, tmp_path / "a.pt")
    if holds == "beside":
        notes = convert(tmp_path / "a.pt", tmp_path / "a.safetensors").notes
        assert len(notes[0]) < 200
        assert "(a tuple)" in notes[0]
        return
    with pytest.raises(InputError, match=r"\(a tuple\)") as caught:
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 400
