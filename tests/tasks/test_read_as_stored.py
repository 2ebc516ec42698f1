"""Targets of a file as people store them: what can be read in one way only is taken, whatever its shape and type."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError

N = 24
MODELS = """
import torch
from torch import nn

def one():
    return nn.Linear(3, 1)

def flat():
    return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

def three():
    return nn.Linear(3, 3)
"""


@pytest.fixture
def made(tmp_path):
    """Return a function of targets, model and loss that makes a task of a file with such targets."""
    (tmp_path / "net.py").write_text(MODELS)
    inputs = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)

    def make(targets, model, loss):
        np.savez(tmp_path / "x.npz", x_train=inputs, y_train=targets)
        return ch.make_task(model=f"{tmp_path}/net.py:{model}", data=f"{tmp_path}/x.npz", loss=loss, device="cpu")

    return make


def measured(task):
    """Return the mean loss of the task's own module, and its outputs."""
    (batch,) = task.train.batches(N)
    with torch.no_grad():
        outputs = task.forward(task.structure(), batch[0])
    return float(task.loss.measure(outputs, batch[1]).mean()), outputs.double()


SIGNS = np.arange(N) % 2


@pytest.mark.parametrize("model", ["one", "flat"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float32, np.float64])
@pytest.mark.parametrize("column", [False, True])
def test_one_logit_takes_every_kind_of_labels(made, model, dtype, column):
    targets = SIGNS.astype(dtype)
    loss, outputs = measured(made(targets[:, None] if column else targets, model, "bce"))
    expected = binary_cross_entropy_with_logits(outputs.flatten(), torch.tensor(SIGNS).double())
    assert loss == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("model", ["one", "flat"])
@pytest.mark.parametrize("column", [False, True])
def test_a_regression_takes_columns_and_rows(made, model, column):
    targets = np.random.default_rng(1).normal(size=N)
    loss, outputs = measured(made(targets[:, None] if column else targets, model, "mse"))
    assert loss == pytest.approx(mse_loss(outputs.flatten(), torch.tensor(targets)).item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
@pytest.mark.parametrize("column", [False, True])
def test_classes_may_stand_in_a_column(made, dtype, column):
    labels = np.arange(N) % 3
    loss, outputs = measured(made((labels[:, None] if column else labels).astype(dtype), "three", "cross-entropy"))
    assert loss == pytest.approx(cross_entropy(outputs, torch.tensor(labels)).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("targets", "model", "loss", "said"),
    [
        (
            np.arange(N) % 3,
            "three",
            "bce",
            r"train targets are \(24,\); loss bce: .*\(--loss\) cross-entropy",
        ),
        (np.arange(N) % 2, "one", "cross-entropy", r"\(--loss\) bce"),
        (
            np.arange(N) / 1.0,
            "three",
            "cross-entropy",
            r"targets are \(24,\); .* are floating numbers; store them as integers",
        ),
        (np.zeros((N, 2)), "three", "mse", r"targets are \(24, 2\); loss mse: outputs have shape \(2, 3\)"),
        (np.arange(N) % 4, "three", "cross-entropy", r"labels lie in \[0, 3\], the model has 3 outputs"),
        (np.arange(N) - 1, "three", "cross-entropy", r"labels lie in \[-1, 22\]"),
        (np.full(N, -100), "three", "cross-entropy", "labels are all -100"),
    ],
)
def test_what_fits_in_no_way_is_refused_in_a_line(made, targets, model, loss, said):
    with pytest.raises(InputError, match=said) as refusal:
        made(targets, model, loss)
    assert "\n" not in str(refusal.value)
