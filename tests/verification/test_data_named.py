"""`verify` says which data its figures are of, what a report beside the file says of others, and what fails."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.loss import resolve_loss
from connectivity_hooks.verification.outputs import outputs_of
from connectivity_hooks.verification.recorded_task import differences

ENDS = (EndPoint("a.safetensors", "0" * 64), EndPoint("b.safetensors", "1" * 64))
TASK = {"model": "net.py:make", "data": "mnist.npz", "loss": "cross-entropy", "samples": {"train": 60, "test": 10}}


def net():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def task(factory=net, **change):
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return Task(factory, CachedSplit("train", x, torch.arange(40) % 3), batch_size=16, **change)


def points(count):
    found = []
    for seed in range(count):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(dict(net().state_dict()))
    return found


def test_the_data_is_named_first(tmp_path):
    Path.from_points(points(2)).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task(data_name="few.npz"))
    assert found.sentences()[0].startswith("losses are of 40 train samples of few.npz under cross-entropy")
    assert found.as_json()["task"]["data"] == "few.npz"
    assert found.notes == ()


def report(folder, ends=ENDS, **change):
    content = {
        "checkpoints": {side: {"file": end.file, "sha256": end.sha256} for side, end in zip("ab", ends, strict=True)},
        "task": {**TASK, **change},
    }
    (folder / "report.json").write_text(json.dumps(content))


def noted(folder, task=TASK):
    path = replace(Path.from_points([{"w": torch.zeros(1)}, {"w": torch.ones(1)}]), end_points=ENDS)
    return differences(folder / "linear.path.safetensors", path, task)


def test_a_report_of_other_data_is_pointed_out(tmp_path):
    assert noted(tmp_path) == ()
    report(tmp_path)
    assert noted(tmp_path) == ()
    assert noted(tmp_path, {**TASK, "data": "elsewhere/mnist.npz", "device": "cuda"}) == ()
    other = {**TASK, "data": "digits", "samples": {"train": 60}}
    assert noted(tmp_path, other) == (
        "the report beside the file is of other data: mnist.npz there, digits here",
        "the report beside the file is of another number of samples: 10 test, 60 train there, 60 train here",
    )


def test_other_outputs_and_a_file_of_another_folder_are_pointed_out(tmp_path):
    def of(task, **recorded):
        report(tmp_path, **recorded)
        return noted(tmp_path, {**TASK, **task})

    beside = "the report beside the file is of"
    assert of({"output": "aux"}, output="main") == (f"{beside} other outputs: main there, aux here",)
    assert of({"output": 1}, output=None) == (f"{beside} other outputs: none picked there, 1 here",)
    assert of({"output": None}, output=0) == (f"{beside} other outputs: 0 there, none picked here",)
    assert of({"output": None}, output=None) == of({"output": "main"}) == ()
    assert of({"data": "b/d.npz"}, data="a/d.npz") == (f"{beside} other data: a/d.npz there, b/d.npz here",)
    assert of({"data": "../x/a/d.npz"}, data="/x/a/d.npz") == of({"data": "d.npz"}, data="a/d.npz") == ()


def test_a_report_that_is_of_other_checkpoints_or_damaged_says_nothing(tmp_path):
    report(tmp_path, ends=(ENDS[1], ENDS[0]), data="digits")
    assert noted(tmp_path) == ()
    for text in ("", "[]", "{}", '{"checkpoints": 3}', '{"checkpoints": {"a": [], "b": 1}, "task": []}', "[" * 10_000):
        (tmp_path / "report.json").write_text(text)
        assert noted(tmp_path) == ()


def test_batches_of_another_size_are_said_where_the_loss_is_of_batches(tmp_path):
    report(tmp_path, batches_count=32)
    assert noted(tmp_path) == ()
    coupled = replace(task(), loss=resolve_loss("contrastive"), batch_size=64)
    assert task().describe()["batches_count"] is None
    path = replace(Path.from_points(points(2)), end_points=ENDS)
    (note,) = differences(tmp_path / "p.path.safetensors", path, {"batches_count": coupled.describe()["batches_count"]})
    assert note == "the report beside the file is of a loss of batches of another size: 32 there, 64 here"


def test_the_notes_come_with_the_verification(tmp_path):
    file = tmp_path / "linear.path.safetensors"
    replace(Path.from_points(points(2)), end_points=ENDS).save(file)
    report(tmp_path, data="other.npz", model="", loss="cross-entropy", samples={"train": 40})
    found = ch.verify(file, task(data_name="few.npz"))
    assert found.notes == ("the report beside the file is of other data: other.npz there, few.npz here",)
    assert found.notes[0] in found.sentences()


def test_losses_of_a_curve_are_those_of_its_ends_and_not_of_its_control_points(tmp_path):
    a, far, b = points(3)
    far = {name: 1e4 * tensor for name, tensor in far.items()}
    Path.from_points([a, far, b], basis="bezier").save(tmp_path / "p.path.safetensors")
    found, split = ch.verify(tmp_path / "p.path.safetensors", task()), task().train
    losses = []
    for weights in (a, b):
        model = net()
        model.load_state_dict(weights)
        losses.append(nn.functional.cross_entropy(model(split.inputs), split.targets()).item())
    assert found.holds
    assert found.bound == {"train": None}
    assert found.largest["train"][0] == pytest.approx(max(losses), rel=1e-6)


def test_a_control_point_that_is_not_finite_is_named(tmp_path):
    a, lost, b = points(3)
    lost["0.bias"] = torch.full_like(lost["0.bias"], float("nan"))
    Path.from_points([a, lost, b], basis="bezier").save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", task())
    assert [str(finding) for finding in found.findings] == ["point 1, 0.bias: holds NaN or Inf"]


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no\nluck")


def test_a_model_that_fails_is_one_line_with_the_batch_it_failed_on():
    words = "the model (Fails) on a batch of inputs (16, 5): RuntimeError: no luck"
    with pytest.raises(InputError, match=re.escape(words)):
        outputs_of(Fails(), task(Fails), task().train)


def test_outputs_are_those_of_every_sample_in_the_type_of_the_task():
    precise = replace(task(), dtype=torch.float64)
    model = precise.model()
    found = outputs_of(model, precise, precise.train)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    torch.testing.assert_close(found, model(precise.train.inputs.double()).detach(), rtol=1e-12, atol=1e-12)
