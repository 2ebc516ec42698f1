import errno
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import atomic, read, write_tensors
from connectivity_hooks.errors import InputError


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
found = read(file)
print((peak() - base) / size)
"""


def test_writing_and_reading_take_the_memory_of_the_tensors_alone(tmp_path):
    size = 400_000_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "x", str(size)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.15
