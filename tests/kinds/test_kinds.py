"""Whatever kind of network it is: watched, checked, connected, verified and sampled as its user's file has it."""

import csv
import math

import pytest
import torch
from kinds import FLAGS, loaded, made, task_of, train, words_of
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import connectivity_hooks as ch

KINDS = sorted(FLAGS)
CONDITIONS = ("dropout-stability", "feature-rank")
ENDS = ("a.safetensors", "b.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_watched_and_left_as_it_is(kind):
    task = task_of(kind)
    plain, watched = made(kind, 1), made(kind, 1)
    train(plain, task)
    probe = loaded(kind).data()[0]
    with (
        ch.capture(watched) as features,
        ch.watch(watched, probe, every=2, conditions=list(CONDITIONS), **FLAGS[kind]) as watch,
    ):
        train(watched, task, watch=watch)
        assert {len(value) for value in features.values()} == {min(8, len(task.train))}
    rows = list(watch.history)
    assert {row.condition for row in rows} == set(CONDITIONS)
    assert [row.reason for row in rows if row.status == "invalid"] == []
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_has_a_verdict(kind, report_of):
    asked = [word for name in CONDITIONS for word in ("--condition", name)]
    words = ("connectivity-hooks", "check", "a.safetensors", *words_of(kind), *asked)
    verdicts = report_of(kind, *words, status=None)["conditions"]
    assert {verdict["condition"] for verdict in verdicts} == set(CONDITIONS)
    assert [verdict["reason"] for verdict in verdicts if verdict["status"] == "invalid"] == []


def in_the_users_own_way(kind, weights):
    """Return the mean training loss of weights, in float64, by the model's own call and PyTorch's own losses."""
    model = made(kind, 0)
    model.load_state_dict(weights)
    model.double().eval()
    data = loaded(kind).data()[0]
    loader = DataLoader(data, 7) if isinstance(data, Dataset) else data
    losses, count = 0.0, 0
    for batch in loader:
        found, wanted = outputs_of(kind, model, batch)
        ignored = int((wanted == -100).sum())
        if FLAGS[kind].get("loss") == "bce":
            loss = F.binary_cross_entropy_with_logits(found, wanted.double(), reduction="sum")
        elif FLAGS[kind].get("loss") == "mse":
            loss = F.mse_loss(found, wanted.double(), reduction="sum")
        else:
            loss = F.cross_entropy(found, wanted, reduction="sum")
        losses, count = losses + float(loss), count + wanted.numel() - ignored
    return losses / count


@torch.no_grad()
def outputs_of(kind, model, batch):
    """Return the outputs of a batch, classes second, and targets of the shape the loss has them."""
    if kind == "autoencoder":
        return model(batch.double()), batch
    if kind == "vae":
        return model(batch.double())[0], batch
    if kind == "named_inputs":
        return model(image=batch["image"].double(), table=batch["table"].double()), batch["labels"]
    x, y = batch
    if kind == "unet":
        return model(x[0].double(), x[1].double()), y
    outputs = model(x)[0] if kind == "lstm" else model(x.double())
    if kind == "binary":
        return outputs[:, 0], y
    if kind in ("lstm", "graph"):
        return outputs.movedim(-1, 1), y
    names = {"two_outputs": 0, "named_outputs": "kind", "segmentation": "out", "lraspp": "out"}
    if kind in names:
        return outputs[names[kind]], y
    return (outputs.logits if kind == "dataclass_outputs" else outputs), y


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_is_measured_verified_and_sampled(kind, typed, folder_of):
    folder = folder_of(kind)
    status, _, err = typed(kind, "connect", *ENDS, *words_of(kind), "--points", 5, "--refine", 0, "--out", "out")
    assert status == 0, err

    path = "out/linear.path.safetensors"
    checkpoints = [word for end in ENDS for word in ("--checkpoint", end)]
    status, out, err = typed(kind, "connectivity-hooks", "verify", path, *words_of(kind), *checkpoints)
    assert status == 0, err
    assert "Verified: every claim of the file holds." in out

    assert typed(kind, "connectivity-hooks", "sample", path, "-t", "0.5", "-o", "middle.safetensors")[0] == 0
    a, b, middle = (load_file(folder / f"{name}.safetensors") for name in ("a", "b", "middle"))
    for name, value in middle.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), (a[name].double() + b[name].double()) / 2, rtol=1e-6, atol=1e-7)

    with open(folder / "out" / "evaluation.csv", newline="") as stream:
        measured = {float(row["t"]): float(row["loss"]) for row in csv.DictReader(stream) if row["split"] == "train"}
    for t, weights in ((0.0, a), (0.5, middle), (1.0, b)):
        assert measured[t] == pytest.approx(in_the_users_own_way(kind, weights), rel=2e-5), t


@pytest.mark.parametrize("kind", KINDS)
def test_an_aligned_copy_is_the_same_function(kind, report_of):
    report = report_of(
        kind, "connect", *ENDS, *words_of(kind), "--points", 3, "--refine", 0, "--align", "weight-matching"
    )
    plain = report_of(kind, "connect", *ENDS, *words_of(kind), "--points", 3, "--refine", 0)
    ends = [each["builders"]["linear"]["train"]["loss_ends"] for each in (report, plain)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    assert math.isfinite(report["builders"]["linear"]["length"])
    assert report["builders"]["linear"]["length"] <= plain["builders"]["linear"]["length"] * (1 + 1e-6)


def test_between_two_heads_on_one_frozen_backbone_nothing_rises(report_of):
    report = report_of("frozen", "connect", *ENDS, *words_of("frozen"))
    figures = report["builders"]["linear"]["train"]
    assert figures["loss_max"] == pytest.approx(max(figures["loss_ends"]), rel=1e-6)
    assert figures["climb"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("command", ["connect", "check"])
def test_a_detector_is_refused_in_a_line_that_says_why(command, typed, folder_of):
    before = sorted(folder_of("detection").iterdir())
    words = [*ENDS, "--out", "out"] if command == "connect" else ["a.safetensors", "--condition", "feature-rank"]
    name = ["connect"] if command == "connect" else ["connectivity-hooks", command]
    status, out, err = typed("detection", *name, *words, "--model", "detection.py:make", "--data", "detection.py:data")
    assert (status, out) == (3, "")
    assert err.startswith("error: detection.py:data: a batch is a tuple of dicts beside its images, as a detector's")
    assert err.count("\n") == 1
    assert sorted(each for each in folder_of("detection").iterdir() if each.name != "__pycache__") == before
