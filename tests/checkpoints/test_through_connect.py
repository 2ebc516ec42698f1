"""What checkpoints may hold, all the way: read, connected, measured, written and verified."""

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import contents, write_tensors
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import make_task

MODEL = """
import torch
from torch import nn

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("floor", torch.tensor([-torch.inf, 0.0, -torch.inf, -0.0, -1.0, 0.0]))

    def forward(self, x):
        return self.out(torch.maximum(self.fc(x), self.floor))

    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass
"""


@pytest.fixture
def task(tmp_path):
    (tmp_path / "masked.py").write_text(MODEL)
    inputs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=inputs, y_train=np.arange(40) % 3)
    return make_task(model=f"{tmp_path}/masked.py:Masked", data=f"{tmp_path}/data.npz", device="cpu")


def checkpoint(tmp_path, task, name, seed):
    torch.manual_seed(seed)
    state = task.factory().state_dict()
    weights = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    write_tensors(tmp_path / name, weights, {})
    return tmp_path / name


def test_a_mask_with_infinities_goes_all_the_way(tmp_path, task):
    a, b = (checkpoint(tmp_path, task, name, seed) for seed, name in enumerate("ab"))
    path = ch.connect(a, b, task)
    assert torch.equal(path(0.5)["floor"], task.factory().floor)
    assert np.isfinite(ch.evaluate(path, task).barriers["train"].barrier_entezari)
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task, checkpoints=(a, b))
    assert found.holds, found.findings


def test_other_infinities_in_a_path_file_are_found(tmp_path, task):
    a, b = (checkpoint(tmp_path, task, name, seed) for seed, name in enumerate("ab"))
    path = ch.connect(a, b, task)
    path.start["floor"] = torch.full((6,), -torch.inf)
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task)
    assert any("floor" in str(finding) and "NaN or Inf" in str(finding) for finding in found.findings)


def test_a_huge_file_that_does_not_fit_is_refused_from_its_header(tmp_path, task, monkeypatch):
    size = 10**10
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    file = tmp_path / "huge.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(file, file.stat().st_size + size)  # a hole: no room on the disk
    monkeypatch.setattr(contents, "_read_tensor", None)
    with pytest.raises(InputError, match=r"huge\.safetensors: does not fit the model: .*1 unexpected: w"):
        ch.connect(file, file, task)
    with pytest.raises(InputError, match="1 unexpected: w"):
        ch.check(file, task, "feature-rank")
    assert isinstance(task.model(), nn.Module)
