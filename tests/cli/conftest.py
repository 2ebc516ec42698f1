"""Two small trained networks on two-class data, and the command line called in this process."""

import numpy as np
import pytest
from small_networks import trained

import connectivity_hooks as ch

NETWORK = """
from torch import nn

def make(width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))

def notamodule():
    return 7

def broken():
    raise RuntimeError("no such luck\\nsecond line")
"""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "net.py").write_text(NETWORK)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (260, 1, 6, 6), dtype=np.uint8)
    y = (x.reshape(260, 36)[:, :3].argmax(1)).astype(np.uint8)
    np.savez(folder / "data.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    task = ch.make_task(model=f"{folder}/net.py:make", data=str(folder / "data.npz"))
    for seed, name in ((1, "a"), (2, "b")):
        model = task.factory()
        model.load_state_dict(trained(task, seed, steps=60, rate=0.01))
        ch.save(model, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def ends(workspace):
    """Return the words of ``connect A B --model … --data …``."""
    return [
        "connect", workspace / "a.safetensors", workspace / "b.safetensors",
        "--model", f"{workspace}/net.py:make", "--data", workspace / "data.npz",
    ]  # fmt: skip
