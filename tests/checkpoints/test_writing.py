import errno
import os
import shutil
import subprocess
import sys
import types

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import atomic, read, write_tensors
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Path


def test_the_library_reads_what_we_write(tmp_path):
    tensors = {
        "w": torch.randn(3, 4).T, "half": torch.randn(5).bfloat16(), "steps": torch.tensor(7),
        "none": torch.empty(0, 3), "mask": torch.tensor([True, False, True]),
        "double": torch.randn(2).double(), "bytes": torch.arange(3, dtype=torch.uint8),
    }  # fmt: skip
    write_tensors(tmp_path / "x.safetensors", tensors, {"a": 'quote " and ü'})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(tmp_path / "x.safetensors", "pt") as handle:
        assert handle.metadata() == {"a": 'quote " and ü'}


def test_save_writes_the_models_own_names_whatever_wraps_it(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    wrapped = torch.compile(nn.DataParallel(model))
    ch.save(wrapped, tmp_path / "x.safetensors", task="timm:resnet18")
    fresh = nn.Sequential(nn.Linear(2, 2))
    fresh.load_state_dict(load_file(tmp_path / "x.safetensors"), strict=True)
    assert read(tmp_path / "x.safetensors").metadata["connectivity_hooks.task"] == "timm:resnet18"
    assert read(tmp_path / "x.safetensors").metadata["format"] == "pt"


def test_save_writes_the_averaged_weights_of_an_averaged_model_under_its_own_names(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    averaged = AveragedModel(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    averaged.update_parameters(model)
    with torch.no_grad():
        model[0].weight.add_(4)
    averaged.update_parameters(model)
    ch.save(averaged, tmp_path / "x.safetensors")
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == model.state_dict().keys()
    torch.testing.assert_close(found["0.weight"], model[0].weight - 2)


class Remembering(nn.Linear):
    def get_extra_state(self):
        return {"steps": 3}


def test_extra_state_that_is_no_tensor_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"0\._extra_state is a dict, not a tensor"):
        ch.save(nn.Sequential(Remembering(2, 2)), tmp_path / "x.safetensors")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("layer", [nn.LazyLinear(3), nn.LazyBatchNorm1d()])
def test_a_lazy_module_that_has_not_run_is_refused_by_name(tmp_path, layer):
    with pytest.raises(InputError, match=r"0\.weight has no shape yet \(lazy\); run the model once"):
        ch.save(nn.Sequential(layer), tmp_path / "x.safetensors")


def test_metadata_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="could not be read: it has metadata that is not text"):
        write_tensors(tmp_path / "x.safetensors", {"w": torch.ones(1)}, {"steps": 3})


def test_the_longest_name_of_a_module_fits_into_a_path_file(tmp_path):
    weights = [{"n" * 1024: torch.randn(6, 6)} for _ in range(2)]
    weights[1]["n" * 1024][1:] = weights[0]["n" * 1024][1:]
    path = Path.from_points(weights)
    path.save(tmp_path / "x.path.safetensors")
    assert torch.equal(Path.load(tmp_path / "x.path.safetensors")(1.0)["n" * 1024], weights[1]["n" * 1024])
    with pytest.raises(InputError, match="which no module can have"):
        write_tensors(tmp_path / "x.safetensors", {"n" * 1025: torch.ones(1)}, {})


def test_a_file_larger_than_its_disk_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=10**12))
    with pytest.raises(InputError, match=r"needs 40 TB, 1 TB are free on its disk; .*view"):
        write_tensors(tmp_path / "x.safetensors", {"small": torch.ones(3), "view": torch.ones(1).expand(10**13)}, {})
    assert not os.listdir(tmp_path)


def test_tied_tensors_are_stored_under_each_name(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    ch.save(model, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == {"a.weight", "b.weight"}


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    file = tmp_path / "x.safetensors"
    write_tensors(file, {"w": torch.ones(2)}, {})
    before = file.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(file, {"w": torch.zeros(5000)}, {})
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_the_mode_follows_the_umask(tmp_path):
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            write_tensors(tmp_path / "x", {"w": torch.ones(1)}, {})
        finally:
            os.umask(before)
        assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_links_folders_and_devices_are_not_replaced(tmp_path):
    write_tensors(tmp_path / "real", {"w": torch.ones(1)}, {})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "link", tmp_path / "folder", "/dev/null"):
        with pytest.raises(InputError, match="is not replaced"):
            write_tensors(target, {"w": torch.ones(1)}, {})
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(InputError, match="cannot be written"):
        write_tensors(tmp_path / "no" / "folder", {"w": torch.ones(1)}, {})


PEAK = """
import re, sys, torch
from connectivity_hooks.checkpoints import read, write_tensors
file, size = sys.argv[1], int(sys.argv[2])

def peak():  # of this program alone: getrusage begins at that of the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

base = peak()
weights = {str(i): torch.ones(size // 16) for i in range(4)}
write_tensors(file, weights, {})
del weights
found = read(file).weights
print((peak() - base) / size)
"""


def test_writing_and_reading_take_the_memory_of_the_tensors_alone(tmp_path):
    size = 400_000_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "x", str(size)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.15
