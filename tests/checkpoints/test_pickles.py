import argparse
import os

import pytest
import torch
from safetensors.torch import load_file

from connectivity_hooks.checkpoints import convert
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
    with pytest.raises(InputError, match="2 sets of weights: state_dict, state_dict_ema; say which with --key"):
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
