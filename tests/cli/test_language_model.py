"""``connect`` on two small LSTM language models, from files of the user's own: what it says, in their units."""

import csv
import json
import math

import pytest
import torch
from safetensors.torch import load_file

import connectivity_hooks as ch

MODEL = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH = 9, 10

class WordLSTM(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, WORDS)

    def forward(self, codes):
        return self.head(self.lstm(self.words(codes))[0])

def make():
    return WordLSTM()

def text(count=160):
    generator = torch.Generator().manual_seed(0)
    first, step = (torch.randint(0, high, (count, 1), generator=generator) for high in (WORDS, 3))
    stream = (first + (step + 1) * torch.arange(LENGTH + 1)) % WORDS
    x, y = stream[:, :-1], stream[:, 1:].clone()
    y[::4, 6:] = -100
    cut = count * 3 // 4
    return [DataLoader(TensorDataset(x[part], y[part]), batch_size=40) for part in (slice(cut), slice(cut, None))]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    (folder / "lm.py").write_text(MODEL)
    task = ch.make_task(model=f"{folder}/lm.py:make", data=f"{folder}/lm.py:text")
    with torch.random.fork_rng():
        for seed, name in ((1, "a"), (2, "b")):
            torch.manual_seed(seed)
            model = task.factory()
            optimizer = torch.optim.Adam(model.parameters(), 0.03)
            for _ in range(25):
                for inputs, targets in task.train.batches(40):
                    optimizer.zero_grad()
                    task.loss(model(inputs), targets).backward()
                    optimizer.step()
            ch.save(model, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def words(files):
    ends = [files / "a.safetensors", files / "b.safetensors"]
    return ["connect", *ends, "--model", f"{files}/lm.py:make", "--data", f"{files}/lm.py:text"]


def exact(files, weights):
    """Return the perplexity of all tokens of the training split that count, by PyTorch in float64."""
    task = ch.make_task(model=f"{files}/lm.py:make", data=f"{files}/lm.py:text")
    model = task.factory().double()
    model.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    logits = model(task.train.inputs).movedim(-1, 1)
    return math.exp(torch.nn.functional.cross_entropy(logits, task.train.targets()).item())


def test_the_terminal_says_perplexity_and_token_error(run, words, files, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(*words, "--out", tmp_path)
    assert status == 0
    ends = [exact(files, load_file(files / f"{name}.safetensors")) for name in "ab"]
    left, right = (f"{end:.4g}" for end in ends)
    assert f"On train the perplexity is {left} at A and {right} at B, and highest at t = " in out
    assert f"(perplexity {max(ends):.4g} at the worse end, " in out.splitlines()[0]
    assert "token error" in out.splitlines()[0]
    table = out[out.index("\nbuilder  split") :]
    assert max(map(len, table[: table.index("\nReport: ")].splitlines())) <= 80
    assert "perplexity A  perplexity B  perplexity max" in table
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<td>{left}</td><td>{right}</td>" in page
    with open(tmp_path / "evaluation.csv", newline="") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream) if row["split"] == "train"]
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert saved["builders"]["linear"]["train"]["perplexity"]["max"] == pytest.approx(math.exp(max(losses)))


def test_json_has_the_middle_as_a_sampled_checkpoint_has_it(run, words, files, tmp_path):
    status, out, _ = run(*words, "--out", tmp_path, "--json")
    assert status == 0
    found = json.loads(out)["builders"]["linear"]["train"]["perplexity"]
    path = ch.Path.load(tmp_path / "linear.path.safetensors")
    assert found["middle"] == pytest.approx(exact(files, path(0.5)), rel=1e-4)
    assert found["ends"] == pytest.approx([exact(files, path(t)) for t in (0.0, 1.0)], rel=1e-4)


def test_all_ways_side_by_side(run, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(*words, "--builder", "linear", "--builder", "bezier", "--budget", "3steps")
    assert status == 0
    assert "largest perplexity" in out
    assert "largest token error" in out
    assert out.count(" at the worse end, ") == 2
