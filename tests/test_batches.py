"""Every command on models with several inputs, with several outputs, without targets, and of Transformers."""

from __future__ import annotations

import csv
import importlib.util
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.cli.connect import command as connect_command
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks.connecting.alignment import function_change
from connectivity_hooks.connecting.subject import data_digest
from connectivity_hooks.tasks import CachedSplit
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.tasks.references import call, parse, resolve

CODE = """
import collections, dataclasses, torch
from torch import nn

G = torch.Generator().manual_seed(0)
A, B = torch.randn(90, 4, generator=G), torch.randn(90, 6, generator=G)
Y = (A[:, :3] + B[:, :3]).argmax(1)
IDS = torch.randint(1, 20, (90, 5), generator=G)
LENGTHS = torch.tensor([3, 4, 5]).repeat_interleave(30)


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu, self.head = nn.Linear(4, 8), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)

    def features(self, a, b):
        return self.relu(self.a(a) + self.b(b))


class Tuples(Both):
    def forward(self, a, b):
        hidden = self.features(a, b)
        return self.head(hidden), hidden


class Named(Both):
    def forward(self, left, right=None, scale: float = 1.0):
        hidden = self.features(left, right)
        return {"hidden": hidden, "logits": self.head(hidden)}


class Auto(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6))


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.hidden, self.relu, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, ids, mask):
        mean = (self.embed(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(self.relu(self.hidden(mean)))


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
                        max_position_embeddings=8, num_labels=3, hidden_dropout_prob=0.0)
    return BertForSequenceClassification(config)


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
                                               decoder_start_token_id=0))


def split(make, parts=((0, 30), (30, 60))):
    return [make(slice(*part)) for part in parts], [make(slice(60, 90))]


def tuples(): return split(lambda rows: ((A[rows], B[rows]), Y[rows]))
def named(): return split(lambda rows: {"left": A[rows], "right": B[rows], "labels": Y[rows]})
def auto(): return split(lambda rows: B[rows])


def padded():
    def make(rows):
        ids = IDS[rows, : LENGTHS[rows].max()]
        return {"ids": ids, "mask": (torch.arange(ids.shape[1]) < LENGTHS[rows, None]).float(), "labels": Y[rows]}

    return split(make)


def tokens():
    return split(lambda rows: collections.UserDict(
        input_ids=IDS[rows], attention_mask=torch.ones_like(IDS[rows]), labels=Y[rows]))


def pairs(): return split(lambda rows: {"input_ids": IDS[rows], "labels": IDS[rows].flip(1)})
def apart(outputs, targets): return (outputs.mean((1, 2)) - targets.float().mean(1)) ** 2
"""


Called = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Kind:
    """A model of `CODE`, its loaders, and how a person would call it.

    Attributes:
        model: Name of the model.
        data: Name of the loaders.
        layer: A layer to look at.
        called: Returns outputs and targets of a batch, in float64.
        output: Which of its outputs the loss reads.
        loss: Name of the loss.
    """

    model: str
    data: str
    layer: str
    called: Called
    output: str | None = None
    loss: str = "cross-entropy"


def named(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    arguments = {name: wide(value) for name, value in batch.items() if name != "labels"}
    return model(**arguments)["logits"], batch["labels"]


def wide(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


KINDS = {
    "tuple": Kind("Tuples", "tuples", "relu", lambda model, batch: (model(*map(wide, batch[0]))[0], batch[1]), "0"),
    "dict": Kind("Named", "named", "relu", named),
    "autoencoder": Kind("Auto", "auto", "1", lambda model, batch: (model(wide(batch)), wide(batch)), loss="mse"),
    "padded": Kind(
        "Padded", "padded", "relu", lambda model, batch: (model(batch["ids"], wide(batch["mask"])), batch["labels"])
    ),
    "bert": Kind("bert", "tokens", "bert.encoder.layer.0.intermediate", named),
}


@dataclass(frozen=True)
class Case:
    """A kind with two checkpoints in a folder."""

    kind: Kind
    folder: pathlib.Path

    @property
    def flags(self) -> list[str]:
        given = {"--model": self.spec(self.kind.model), "--data": self.spec(self.kind.data), "--loss": self.kind.loss}
        if self.kind.output is not None:
            given["--output"] = self.kind.output
        return [word for pair in given.items() for word in pair] + ["--batch-size", "40"]

    def spec(self, name: str) -> str:
        return f"{self.folder}/code.py:{name}"

    def task(self) -> ch.Task:
        kind = self.kind
        return ch.make_task(
            model=self.spec(kind.model), data=self.spec(kind.data), loss=kind.loss, output=kind.output, batch_size=40
        )

    def expected_loss(self, name: str, split: int) -> float:
        """Compute the mean loss of a checkpoint in float64 from the file and the loader alone."""
        model = model_factory(self.spec(self.kind.model))().double().eval()
        model.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        reference, total, count = parse(self.spec(self.kind.data)), 0.0, 0
        for batch in call(reference, resolve(reference))[split]:
            with torch.no_grad():
                outputs, targets = self.kind.called(model, batch)
            apart = (outputs - targets).square().mean(1) if self.kind.loss == "mse" else None
            each = cross_entropy(outputs, targets, reduction="none") if apart is None else apart
            total, count = total + float(each.sum()), count + len(targets)
        return total / count


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Case:
    kind = KINDS[request.param]
    if request.param == "bert" and importlib.util.find_spec("transformers") is None:
        pytest.skip("Transformers is not installed")
    return made(kind, tmp_path)


def made(kind: Kind, folder: pathlib.Path) -> Case:
    (folder / "code.py").write_text(CODE)
    case = Case(kind, folder)
    for seed, name in enumerate("ab"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            ch.save(model_factory(case.spec(kind.model))(), folder / f"{name}.safetensors")
    return case


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line and gives (status, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        name, *rest = map(str, words)
        command = (lambda: connect_command) if name == "connect" else (lambda: group)
        status = exit_status(name, command, rest if name == "connect" else [name, *rest])
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_every_command_runs_the_model_as_it_is(case: Case, run: Run) -> None:
    a, b, out = case.folder / "a.safetensors", case.folder / "b.safetensors", case.folder / "out"
    status, said, err = run("connect", a, b, *case.flags, "--points", 3, "--refine", 0, "--out", out, "--json")
    assert status == 0, err
    rows = list(csv.DictReader((out / "evaluation.csv").open()))
    found = {(float(row["t"]), row["split"]): float(row["loss"]) for row in rows}
    for t, name in ((0.0, "a"), (1.0, "b")):
        for place, split in enumerate(("train", "test")):
            assert found[t, split] == pytest.approx(case.expected_loss(name, place), rel=1e-5)
    path = out / "linear.path.safetensors"
    status, _, err = run("verify", path, *case.flags, "--checkpoint", a, "--checkpoint", b)
    assert status == 0, err
    status, _, err = run("sample", path, "-t", "0.5", "-o", case.folder / "mid.safetensors")
    assert status == 0, err
    words = ["--condition", "feature-rank", "--feature-rank.least", "0", "--layers", case.kind.layer]
    status, said, err = run("check", case.folder / "mid.safetensors", *case.flags, *words, "--json")
    assert status == 0, f"{said}{err}"


def test_a_pair_is_measured_from_python_and_watched_on_the_same_batches(case: Case) -> None:
    task = case.task()
    path = ch.connect(case.folder / "a.safetensors", case.folder / "b.safetensors", task)
    evaluation = ch.evaluate(path, task, points=3, refine=0)
    assert evaluation.curves["train"][0].loss == pytest.approx(case.expected_loss("a", 0), rel=1e-5)
    reference = parse(case.spec(case.kind.data))
    batches = call(reference, resolve(reference))[0]
    for probe in (batches, task):
        with ch.watch(
            task.model(), probe=probe, conditions=["feature-rank"], layers=[case.kind.layer], every=1
        ) as watch:
            watch.step()
        assert [row.status for row in watch.history] != ["invalid"]
        assert watch.history


def test_a_decoder_gets_the_labels_that_it_needs(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("transformers")
    case = made(Kind("t5", "pairs", "", named), tmp_path)
    task = ch.make_task(model=case.spec("t5"), data=case.spec("pairs"), loss=case.spec("apart"), batch_size=40)
    path = ch.connect(tmp_path / "a.safetensors", tmp_path / "b.safetensors", task)
    found = ch.evaluate(path, task, points=3, refine=0).curves["train"][0].loss
    model = model_factory(case.spec("t5"))().double().eval()
    model.load_state_dict(task.model().state_dict() | load_file(tmp_path / "a.safetensors"))
    reference = parse(case.spec("pairs"))
    total = 0.0
    for batch in call(reference, resolve(reference))[0]:
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], labels=batch["labels"]).logits
        total += float((logits.mean((1, 2)) - batch["labels"].double().mean(1)).square().sum())
    assert found == pytest.approx(total / 60, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "data", "more", "words"),
    [
        ("Tuples", "tuples", [], "say which are the outputs: output= (--output) takes one of 0, 1"),
        (
            "Named",
            "named",
            ["--output", "logit"],
            "no entry 'logit' that is a tensor: output= (--output) takes one of hidden, logits",
        ),
        ("Auto", "auto", ["--output", "0"], "returns one tensor, and no entry '0'; leave output= (--output) out"),
        ("Tuples", "named", [], "the batch has 'left', 'right', and Tuples.forward takes 'a', 'b'"),
        ("Named", "auto", ["--loss", "mse"], "do not fit the model"),
        ("Auto", "tuples", [], "the batch has 2 inputs, and Auto.forward takes"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_it(
    tmp_path: pathlib.Path, run: Run, model: str, data: str, more: list[str], words: str
) -> None:
    case = made(Kind(model, data, "", named), tmp_path)
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    status, out, err = run("connect", a, b, "--model", case.spec(model), "--data", case.spec(data), *more)
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert words in err


def test_data_that_changed_in_any_entry_is_other_data(tmp_path: pathlib.Path) -> None:
    case = made(KINDS["dict"], tmp_path)
    task = case.task()
    whole = data_digest(task)
    assert data_digest(case.task()) == whole
    inputs = task.train.inputs
    for name in inputs:
        changed = {**inputs, name: inputs[name] + 1}
        other = task.on(CachedSplit("train", changed, task.train.targets()), task.test)
        assert data_digest(other) != whole


def test_an_aligners_check_runs_on_all_inputs(tmp_path: pathlib.Path) -> None:
    task = made(KINDS["dict"], tmp_path).task()
    weights = load_file(tmp_path / "a.safetensors")
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    rows = {name: tensor[order] for name, tensor in weights.items() if name.startswith(("a.", "b."))}
    moved = {**weights, **rows, "head.weight": weights["head.weight"][:, order]}
    assert function_change(weights, moved, task).deviation < 1e-12
    assert function_change(weights, {**moved, "head.bias": weights["head.bias"] + 1}, task).deviation > 1e-3
