"""``python -m connectivity_hooks`` in several processes: one writes, one answer, one line where something is wrong."""

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

import connectivity_hooks as ch

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")

LONG = 120
"""Seconds after which a process is taken to hang: what takes five on an idle machine may take ten times as long."""

OWN = """
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SECOND = os.environ.get("RANK") == "1"

def make():
    print("made")
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))

def data(shift=0.0):
    x = torch.randn(60, 36, generator=torch.Generator().manual_seed(0))
    return {"train": DataLoader(TensorDataset(x + shift, x[:, :3].argmax(1)), 30)}

def other():
    return data(1.0 if SECOND else 0.0)

class Failing(nn.Sequential):
    def forward(self, x):
        if SECOND and self.training:
            raise ValueError("no such luck")
        return super().forward(x)

def failing():
    return Failing(*make())

class Ending(nn.Sequential):
    def forward(self, x):
        if SECOND and self.training:
            os._exit(9)  # as if it were killed
        return super().forward(x)

def ending():
    return Ending(*make())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make two checkpoints of three layers, and the code of a model and data."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "own.py").write_text(OWN)
    task = ch.make_task(model=f"{folder}/own.py:make", data=f"{folder}/own.py:data")
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        ch.save(task.factory(), folder / f"{name}.safetensors")
    return folder


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(words, rank, count, port):
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **({key: str(value) for key, value in own.items()} if count > 1 else {})}
    command = [sys.executable, "-m", "connectivity_hooks", *map(str, words)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


def together(*words, count=2):
    """Run a command in processes of their own; return of each (status, stdout, stderr)."""
    port = free_port()
    processes = [started(words, rank, count, port) for rank in range(count)]
    try:
        ends = [process.communicate(timeout=LONG) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]


def words(folder, *more, model="make", data="data"):
    ends = [folder / "a.safetensors", folder / "b.safetensors"]
    code = ["--model", f"{folder}/own.py:{model}", "--data", f"{folder}/own.py:{data}", "--device", "cpu"]
    return ["connect", *ends, *code, "--points", "5", "--refine", "2", *more]


def lines(ends):
    """Return what all processes said on stderr."""
    return [line for _, _, said in ends for line in said.splitlines()]


BEZIER = ["--builder", "bezier", "--bezier.budget", "20steps", "--bezier.batch-size", "16"]


def test_two_processes_give_the_report_of_one_and_one_of_them_writes_it(folder, tmp_path):
    more = ["--builder", "linear", *BEZIER]
    ((status, said, _),) = together(*words(folder, *more, "--out", tmp_path / "one"), count=1)
    first, second = together(*words(folder, *more, "--out", tmp_path / "two"))
    assert status == first[0] == second[0] == 0
    assert second[1:] == ("", "")
    assert said.splitlines()[-1].startswith("Report:")
    assert len(first[1].splitlines()) == len(said.splitlines())
    one, two = ({file.name: file for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert one["linear.path.safetensors"].read_bytes() == two["linear.path.safetensors"].read_bytes()
    found = [folder["evaluation.csv"].read_text().splitlines() for folder in (one, two)]
    rows = [[row for row in text if row.startswith("linear")] for text in found]
    assert rows[0] == rows[1] != []
    middles = [ch.Path.load(found["bezier.path.safetensors"]).point(1) for found in (one, two)]
    for name, tensor in middles[0].items():
        torch.testing.assert_close(middles[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_processes_with_other_data_are_told_apart_in_one_line(folder, tmp_path):
    ends = together(*words(folder, *BEZIER, "--out", tmp_path / "out", data="other"))
    assert [status for status, _, _ in ends] == [3, 3]
    (line,) = lines(ends)
    assert "process 2 of 2: the data differ" in line
    assert not (tmp_path / "out").exists()


def test_what_fails_in_one_process_ends_all_with_one_line(folder, tmp_path):
    ends = together(*words(folder, *BEZIER, "--json", model="failing"))
    assert [status for status, _, _ in ends] == [3, 3]
    assert [line for line in lines(ends) if line.startswith("error:")] == [lines(ends)[-1]]
    assert "no such luck" in lines(ends)[-1]
    assert [out for _, out, _ in ends] == ["", ""]


def test_a_process_that_is_gone_leaves_nobody_waiting(folder):
    ends = together(*words(folder, *BEZIER, model="ending"))
    assert ends[1][0] == 9
    assert ends[0][0] not in (0, 9)


def test_wrong_usage_is_said_once(folder):
    ends = together(*words(folder, "--pionts", "3"))
    assert [status for status, _, _ in ends] == [2, 2]
    assert len([line for line in lines(ends) if "--pionts" in line]) == 1


def test_other_commands_are_the_first_process_s(folder):
    (status, said, _), second = together("plugins", "--json")
    assert status == 0
    assert "bezier" in said
    assert second == (0, "", "")
