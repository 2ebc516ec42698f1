"""``connectivity-hooks stability``: what it prints and writes, what it refuses, and how it goes on."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import connectivity_hooks as ch


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    """Return a folder with two copies at k = 0, 10 and 30 of a training of 60 steps."""
    folder = tmp_path_factory.mktemp("runs")
    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    x, y = task.train.inputs, task.train.targets()

    def train(model, optimizer, generator, steps, save=()):
        for step in steps:
            if step in save:
                ch.save_start(folder, step, model, optimizer=optimizer)
            batch = torch.randint(len(x), (40,), generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    def build():
        model = task.factory()
        return model, torch.optim.Adam(model.parameters(), 0.01)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        train(*build(), torch.Generator().manual_seed(0), range(31), (0, 10, 30))
        for copy in ch.copies(folder):
            model, optimizer = build()
            copy.restore(model, optimizer=optimizer)
            train(model, optimizer, copy.generator, range(copy.step, 60))
            copy.save(model)
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs")


@pytest.fixture
def words(runs, workspace):
    return [
        "stability", runs, "--model", f"{workspace}/net.py:make", "--data", workspace / "data.npz",
        "--points", "5", "--refine", "0",
    ]  # fmt: skip


def test_it_prints_the_verdict_and_a_line_for_each_k_and_split(run, words):
    status, out, err = run(*words)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith(("Stable from", "Not stable from", "Too few samples to tell"))
    table = [line.split() for line in lines if line.split()[:1] in (["0"], ["10"], ["30"])]
    assert [line[:3] for line in table] == [[k, "1", split] for k in ("0", "10", "30") for split in ("train", "test")]
    assert "k = 30: seed_1 and seed_2 (3 of 3)" in err


def test_it_writes_figures_curves_picture_and_page(run, words, tmp_path):
    assert run(*words, "--out", tmp_path / "out")[0] == 0
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"pairs", "stability.csv", "curves.csv", "stability.svg", "stability.html", "stability.json"}
    with open(tmp_path / "out" / "stability.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    content = json.loads((tmp_path / "out" / "stability.json").read_text(encoding="utf-8"))
    assert [(row["k"], row["a"], row["b"], row["split"]) for row in rows] == [
        (str(k), "seed_1", "seed_2", split) for k in (0, 10, 30) for split in ("train", "test")
    ]
    for row in rows:
        at = next(at for at in content["instability"][row["split"]] if at["step"] == int(row["k"]))
        assert float(row["barrier_frankle"]) == at["loss"]["mean"]
        assert float(row["error_barrier"]) == at["error"]["mean"]
        assert float(row["error_barrier_interval"]) == at["error"]["interval"]
    with open(tmp_path / "out" / "curves.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3 * 2 * 5
    page = (tmp_path / "out" / "stability.html").read_text(encoding="utf-8")
    assert page.index("<h1>") < page.index("<svg") < page.index("<table")
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_json_is_all_there_is_on_stdout(run, words):
    status, out, err = run(*words, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert [at["step"] for at in found["instability"]["test"]] == [0, 10, 30]
    assert found["path"]["builder"] == "linear"


def test_chosen_k_alone_are_compared(run, words, runs):
    (runs / "k_00000000" / "seed_2.safetensors").unlink()
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (3, 1)
    assert "holds one copy, seed_1" in err
    status, out, _ = run(*words, "--k", 10, "--k", 30, "--json")
    assert status == 0
    assert [at["step"] for at in json.loads(out)["instability"]["train"]] == [10, 30]


def test_the_page_is_made_again_from_its_data_alone(run, words, tmp_path):
    run(*words, "--out", tmp_path / "out")
    files = [tmp_path / "out" / f"stability.{ending}" for ending in ("html", "svg")]
    before = [file.read_text(encoding="utf-8") for file in files]
    for file in files:
        file.unlink()
    assert run("report", tmp_path / "out")[0] == 0
    assert [file.read_text(encoding="utf-8") for file in files] == before
    (tmp_path / "out" / "stability.json").write_text("{}")
    status, _, err = run("report", tmp_path / "out")
    assert (status, err.count("\n")) == (3, 1)


def equal(runs):
    save_file(load_file(runs / "k_00000010/seed_1.safetensors"), runs / "k_00000010/seed_2.safetensors")


def nan(runs):
    weights = load_file(runs / "k_00000030/seed_1.safetensors")
    weights["1.weight"][0, 0] = float("nan")
    save_file(weights, runs / "k_00000030/seed_1.safetensors")


def pickled(runs):
    torch.save({}, runs / "k_00000030/seed_1.safetensors")


@pytest.mark.parametrize("harm", [equal, nan, pickled, shutil.rmtree], ids=lambda harm: harm.__name__)
def test_bad_copies_are_refused_in_one_line_and_nothing_is_written(run, words, runs, tmp_path, harm):
    harm(runs)
    status, out, err = run(*words, "--out", tmp_path / "out")
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--builder", "liner"], "did you mean 'linear'"),
        (["--k", "7"], "has no k = 7; there are 0, 10, 30"),
        (["--align", "nothing"], "nothing"),
        (["--correct", "both"], "both"),
        (["--certified.effort", "quick"], "certified is not used"),
    ],
)
def test_wrong_usage_is_status_2(run, words, flags, said):
    status, _, err = run(*words, *flags)
    assert status == 2
    assert said in err


def test_another_builder_connects_the_copies(run, words):
    flags = ["--builder", "certified", "--certified.effort", "quick", "--k", "30", "--json"]
    status, out, _ = run(*words, *flags)
    assert status == 0
    assert json.loads(out)["path"]["options"]["effort"] == "quick"


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "=HYPERLINK(1)", r"$\frac{$", "a\x1b[31mb"])
def test_hostile_names_of_copies_stay_text(run, words, runs, tmp_path, name):
    (runs / "k_00000010/seed_1.safetensors").rename(runs / "k_00000010" / f"{name}.safetensors")
    status, out, err = run(*words, "--out", tmp_path / "out")
    assert status == 0
    assert "\x1b" not in out + err
    page = (tmp_path / "out" / "stability.html").read_text(encoding="utf-8")
    assert "<img" not in page
    with open(tmp_path / "out" / "stability.csv", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not any(cell.startswith("=") for cell in cells)


def figures(file):
    """Return the numbers of a CSV file: sums of two processes may differ in their last digits."""
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    words = ("a", "b", "split", "source")
    return [float(cell or -1) for row in rows for name, cell in row.items() if name not in words]


STOPPING = """
import pathlib, time
from torch import nn

place = pathlib.Path(__file__).parent
journal = place / "out" / "pairs" / ".k_00000010.seed_1.seed_2.measured.jsonl"

class Stopping(nn.Sequential):
    def forward(self, x):
        while (place / "stop").exists() and journal.exists() and journal.read_text(encoding="utf-8").count("\\n") >= 4:
            (place / "stopped").touch()
            time.sleep(0.01)
        return super().forward(x)

def make():
    return Stopping(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_keeps_what_was_finished_and_goes_on(run, words, tmp_path, number, status):
    (tmp_path / "net.py").write_text(STOPPING)
    (tmp_path / "stop").touch()
    words = [
        str(word)
        for word in [*words[:2], "--model", f"{tmp_path}/net.py:make", *words[4:6], "--refine", "0", "--points", "30"]
    ]
    program = [sys.executable, "-c", "from connectivity_hooks.cli import main; main()"]
    process = subprocess.Popen([*program, *words, "--out", tmp_path / "out"], stderr=subprocess.PIPE, text=True)
    pairs = tmp_path / "out" / "pairs"
    journal = pairs / ".k_00000010.seed_1.seed_2.measured.jsonl"
    while process.poll() is None and not (tmp_path / "stopped").exists():  # it stands still there, however slow it is
        time.sleep(0.01)
    process.send_signal(number)
    (tmp_path / "stop").unlink()
    _, err = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in err
    finished = pairs / "k_00000000.seed_1.seed_2.json"
    before, begun = finished.stat().st_mtime_ns, journal.read_text(encoding="utf-8")
    assert begun.count("\n") >= 4
    assert not (tmp_path / "out" / "stability.json").exists()
    assert run(*words, "--out", tmp_path / "out")[0] == 0
    assert finished.stat().st_mtime_ns == before
    assert {file.name for file in pairs.iterdir()} == {f"k_{k:08d}.seed_1.seed_2.json" for k in (0, 10, 30)}
    run(*words, "--out", tmp_path / "whole")
    for name in ("stability.csv", "curves.csv"):
        resumed, whole = (figures(tmp_path / folder / name) for folder in ("out", "whole"))
        assert resumed == pytest.approx(whole, rel=1e-6, abs=1e-9)


def test_two_runs_into_one_folder_are_refused(run, words, tmp_path):
    from connectivity_hooks.cli.folder import OutputFolder

    with OutputFolder(tmp_path / "out"):
        status, _, err = run(*words, "--out", tmp_path / "out")
    assert status == 3
    assert "another run is writing" in err
