"""``--correct repair`` in every command, and files whose plain weights give the corrected outputs anywhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import trained

import connectivity_hooks as ch
from connectivity_hooks.evaluation import ModelOnPath
from connectivity_hooks.evaluation.model_on_path import Corrected
from connectivity_hooks.paths import Path
from connectivity_hooks_corrections.batch_norm import BatchNorm
from connectivity_hooks_corrections.repair import Repair

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up, self.turned = nn.Conv2d(1, 6, 3), nn.ConvTranspose2d(6, 4, 2, groups=2), nn.Conv2d(4, 5, 3)
        self.norm, self.down, self.head = nn.BatchNorm2d(5), nn.Linear(45, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.up(self.conv(x).relu()).relu()
        return self.head(self.down(self.norm(self.turned(x)).relu().flatten(1)).relu())
"""

# Neither this package nor this process: PyTorch's own loading, and the model's own file.
ELSEWHERE = """
import sys
import torch
from safetensors.torch import load_file, save_file
sys.path.insert(0, sys.argv[1])
from net import Net
model = Net().double().eval()
model.load_state_dict(load_file(sys.argv[2]))
with torch.no_grad():
    save_file({"outputs": model(load_file(sys.argv[3])["inputs"])}, sys.argv[4])
assert not any(name.startswith("connectivity_hooks") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with net.py, data.npz and two trained checkpoints."""
    folder = tmp_path_factory.mktemp("repair")
    (folder / "net.py").write_text(NETWORK)
    x = np.random.default_rng(0).integers(0, 255, (220, 1, 6, 6), dtype=np.uint8)
    y = x.reshape(220, 36)[:, :3].argmax(1).astype(np.uint8)
    np.savez(folder / "data.npz", x_train=x[:160], y_train=y[:160], x_test=x[160:], y_test=y[160:])
    task = ch.make_task(model=f"{folder}/net.py:Net", data=str(folder / "data.npz"))
    for seed, name in ((1, "a"), (2, "b")):
        save_file(trained(task, seed, steps=30, rate=0.01), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def words(place):
    return ["--model", f"{place}/net.py:Net", "--data", place / "data.npz"]


@pytest.fixture
def ends(place, words):
    return ["connect", place / "a.safetensors", place / "b.safetensors", *words]


@pytest.mark.parametrize("correction", [Repair, BatchNorm])
def test_what_sample_writes_gives_the_corrected_outputs_in_another_process(run, place, words, tmp_path, correction):
    task = ch.make_task(model=f"{place}/net.py:Net", data=str(place / "data.npz"), dtype="float64")
    path = ch.connect(place / "a.safetensors", place / "b.safetensors", task)
    path = path.to(torch.device("cpu"), torch.float64)
    path.save(tmp_path / "line.path.safetensors")
    out = tmp_path / "mid.safetensors"
    sample = ["sample", tmp_path / "line.path.safetensors", "-t", 0.4, "-o", out, *words]
    assert run(*sample, "--correct", correction.name)[0] == 0
    moving = ModelOnPath(Path.load(tmp_path / "line.path.safetensors"), task)
    Corrected(moving, correction()).go(0.4)
    inputs = task.test.inputs
    with torch.no_grad():
        expected = task.forward(moving.model, inputs)
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    save_file({"inputs": inputs.contiguous()}, tmp_path / "inputs.safetensors")
    given = [place, out, tmp_path / "inputs.safetensors", tmp_path / "outputs.safetensors"]
    subprocess.run([sys.executable, "-I", tmp_path / "elsewhere.py", *given], check=True)
    found = load_file(tmp_path / "outputs.safetensors")["outputs"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    own = path(0.4)
    weights = load_file(out)
    assert {name: (w.shape, w.dtype) for name, w in weights.items()} == {
        name: (w.shape, w.dtype) for name, w in own.items()
    }
    changed = {name.partition(".")[0] for name, w in weights.items() if not torch.equal(w, own[name])}
    assert changed == ({"norm"} if correction is BatchNorm else {"conv", "up", "norm", "down"})


def test_the_sample_loses_what_connect_measured_and_the_report_says_how(run, ends, words, tmp_path):
    how = ["--correct", "repair", "--repair.samples", 100]
    line = [*ends, "--json", "--points", 3, "--refine", 0, *how]
    status, out, err = run(*line, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    report = json.loads(out)
    found = report["builders"]["linear"]
    assert (found["correction"], found["correction_options"]) == ("repair", {"samples": 100, "seed": 0})
    assert (
        "repair gives 3 layers the means and deviations between both ends', and measures 1 norm anew" in report["notes"]
    )
    assert "between the ends by repair" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    middle = tmp_path / "mid.safetensors"
    path = tmp_path / "out" / "linear.path.safetensors"
    assert run("sample", path, "-t", 0.5, "-o", middle, *words, *how)[0] == 0
    again = [ends[0], middle, *ends[2:], "--points", 2, "--refine", 0, "--json"]
    loss = json.loads(run(*again)[1])["builders"]["linear"]["train"]["loss_ends"][0]
    rows = (tmp_path / "out" / "evaluation.csv").read_text(encoding="utf-8").splitlines()
    measured = next(row.split(",") for row in rows if row.startswith("linear,0.5,train"))
    assert loss == pytest.approx(float(measured[3]), rel=1e-5)


def test_the_ends_are_sampled_as_they_are(run, place, ends, words, tmp_path):
    assert run(*ends, "--points", 2, "--refine", 0, "--out", tmp_path / "out")[0] == 0
    path, out = tmp_path / "out" / "linear.path.safetensors", tmp_path / "end.safetensors"
    for t, name in ((0, "a"), (1, "b")):
        assert run("sample", path, "-t", t, "-o", out, *words, "--correct", "repair")[0] == 0
        found, end = load_file(out), load_file(place / f"{name}.safetensors")
        assert all(torch.equal(found[key], weights) for key, weights in end.items())
