"""Temperatures, and barriers at calibrated outputs, against scipy and an independent computation in float64."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.evaluation.calibration import LEAST, MOST, fit_temperature, slopes
from connectivity_hooks.reports import Report
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task

CE, BCE = LOSSES["cross-entropy"], LOSSES["bce"]


def drawn(seed, scale, help_, classes=5, count=200):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, classes, generator=generator) * scale
    labels = torch.randint(0, classes, (count,), generator=generator)
    outputs[torch.arange(count), labels] += help_
    return outputs, labels


def best(mean_loss):
    """Return the temperature of the least loss by a search that knows no derivative."""
    found = minimize_scalar(
        lambda log: mean_loss(np.exp(log)), bounds=(-7, 14), method="bounded", options={"xatol": 1e-11}
    )
    return float(np.exp(found.x))


@pytest.mark.parametrize(("scale", "help_"), [(1, 1), (5, 2), (0.01, 0.02), (50, 20), (1, 3)])
def test_the_temperature_is_the_one_scipy_finds(scale, help_):
    outputs, labels = drawn(0, scale, help_)
    halves = [(outputs[:70], labels[:70]), (outputs[70:], labels[70:])]
    expected = best(lambda t: float(F.cross_entropy(outputs.double() / t, labels)))
    assert fit_temperature(lambda: halves, CE) == pytest.approx(expected, rel=1e-5)


def test_that_of_bce_is_too():
    generator = torch.Generator().manual_seed(0)
    outputs = 6 * torch.randn(80, 3, generator=generator)
    targets = torch.rand(80, 3, generator=generator).round()
    expected = best(lambda t: float(F.binary_cross_entropy_with_logits(outputs.double() / t, targets.double())))
    found = fit_temperature(lambda: [(outputs, targets)], BCE)
    assert found == pytest.approx(expected, rel=1e-5) or (expected > 1e5 and found > 1e5)


def test_tokens_that_are_ignored_do_not_count():
    outputs, labels = drawn(1, 3, 2)
    outputs, labels = outputs.reshape(20, 10, 5), labels.reshape(20, 10).clone()
    labels[:, 7:] = -100
    expected = best(lambda t: float(F.cross_entropy(outputs.double().reshape(-1, 5) / t, labels.reshape(-1))))
    assert fit_temperature(lambda: [(outputs, labels)], CE) == pytest.approx(expected, rel=1e-5)


def test_slopes_are_the_derivatives():
    outputs, labels = drawn(2, 2, 1)
    total, first, second, weight = slopes(outputs, labels, CE, 0.7).tolist()
    p = torch.softmax(outputs.double() * 0.7, 1)
    mean = (p * outputs).sum(1)
    assert total == pytest.approx(float(F.cross_entropy(outputs.double() * 0.7, labels, reduction="sum")))
    assert first == pytest.approx(float((mean - outputs.double().gather(1, labels[:, None])[:, 0]).sum()))
    assert second == pytest.approx(float(((p * outputs.double().square()).sum(1) - mean.square()).sum()))
    assert weight == 200


def test_where_all_are_right_there_is_none():
    assert fit_temperature(lambda: [(3 * torch.eye(5), torch.arange(5))], CE) is None


def test_outputs_of_no_use_are_made_as_unsure_as_can_be():
    assert fit_temperature(lambda: [(-torch.eye(5), torch.arange(5))], CE) == pytest.approx(MOST)
    assert LEAST < 1 < MOST


def test_outputs_that_are_no_numbers_have_none():
    assert fit_temperature(lambda: [(torch.full((4, 3), float("nan")), torch.zeros(4, dtype=torch.long))], CE) is None


def made():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(260, 4, generator=generator, dtype=torch.float64)
    y = (
        x @ torch.randn(4, 3, generator=generator, dtype=torch.float64) + torch.randn(260, 3, generator=generator)
    ).argmax(1)
    splits = (CachedSplit("train", x[:200], y[:200]), CachedSplit("test", x[200:], y[200:]))
    task = Task(lambda: nn.Linear(4, 3), *splits, dtype=torch.float64)
    weights = [torch.randn(3, 4, generator=generator, dtype=torch.float64) * size for size in (3.0, 0.1, 2.0)]
    return task, ch.Path.from_points([{"weight": w, "bias": torch.zeros(3, dtype=torch.float64)} for w in weights])


def test_the_calibrated_barrier_is_that_of_losses_at_each_t_s_own_temperature():
    task, path = made()
    found = ch.evaluate(path, task, points=5, refine=1, calibrate=0.25, seed=7)
    held = task.train.sample(50, 7)
    (inputs, labels), curves = next(iter(held.batches(99))), {}
    for split in task.splits():
        x, y = next(iter(split.batches(999)))
        losses = []
        for t, temperature in zip(found.calibrated.ts, found.calibrated.temperatures, strict=True):
            w = path(t)["weight"]
            mine = best(lambda T, w=w: float(F.cross_entropy(inputs @ w.T / T, labels)))
            assert temperature == pytest.approx(mine, rel=1e-5) or (mine > 1e5 and temperature > 1e5)
            losses.append(float(F.cross_entropy(x @ w.T / temperature, y)))
        curves[split.name] = losses
    ts = np.array(found.calibrated.ts)
    for name, losses in curves.items():
        excess = np.array(losses) - (1 - ts) * losses[0] - ts * losses[-1]
        figures = found.calibrated.barriers[name]
        assert figures.barrier_entezari == pytest.approx(excess.max(), rel=1e-9, abs=1e-12)
        assert figures.worst_t == ts[excess.argmax()]
        assert [point.loss for point in found.calibrated.curves[name]] == pytest.approx(losses, rel=1e-9)
    plain = ch.evaluate(path, task, points=5, refine=1)
    assert plain.calibrated is None
    assert plain.barriers == found.barriers


def test_more_outputs_than_fit_are_computed_again(monkeypatch):
    from connectivity_hooks.evaluation import calibrated

    task, path = made()
    kept = ch.evaluate(path, task, points=3, refine=0, calibrate=0.25).calibrated
    monkeypatch.setattr(calibrated, "_BYTES", 1)
    assert ch.evaluate(path, task, points=3, refine=0, calibrate=0.25).calibrated.temperatures == kept.temperatures


def test_reports_have_both_barriers_and_the_temperatures(tmp_path):
    task, path = made()
    found = ch.evaluate(path, task, points=3, refine=0, calibrate=0.25)
    found.save(tmp_path)
    (builder,) = json.loads((tmp_path / "report.json").read_text())["builders"].values()
    told = builder["calibrated"]
    assert told["held_out"] == 50
    assert told["test"]["barrier_entezari"] == found.calibrated.barriers["test"].barrier_entezari
    assert told["test"]["temperature_a"] == told["temperatures"][0] == found.calibrated.temperature(0.0)
    figure = f"{found.calibrated.barriers['train'].barrier_entezari:.4g}"
    page = (tmp_path / "report.html").read_text()
    assert figure in page
    assert "Calibrated" in page
    text = Report.of([found]).table()
    assert "calibrated barrier" in text
    assert f"T {found.calibrated.temperature(0.0):.3g} at A" in text
    assert "calibrated" not in Report.of([ch.evaluate(path, task, points=3, refine=0)]).table()


def test_of_several_builders_it_is_a_column():
    task, path = made()
    found = ch.evaluate(path, task, points=3, refine=0, calibrate=0.25)
    assert "calibrated barrier" in Report({"one": found, "two": found}).table()


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan"), "0.1", [0.1]])
def test_a_share_that_cannot_be_is_wrong_usage(share):
    task, path = made()
    with pytest.raises(ch.UsageError, match="between 0 and 1"):
        ch.evaluate(path, task, calibrate=share)


def test_a_loss_of_no_logits_is_refused_before_anything_is_measured():
    x = torch.randn(20, 4)
    task = Task(lambda: nn.Linear(4, 3), CachedSplit("train", x, torch.randn(20, 3)), loss=LOSSES["mse"])
    weights = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    with pytest.raises(ch.InputError, match="cross-entropy or bce; the loss is mse"):
        ch.evaluate(ch.Path.from_points([weights, weights]), task, calibrate=0.5)
