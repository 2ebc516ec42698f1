"""Benchmarks of curves: trainings take the steps they say, texts and rows are what they claim to be."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit, Task


def small():
    """Return a network with batch norm, in the channels-last format, of the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8, 10)).to(memory_format=torch.channels_last)


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, 12, 12, generator=generator)
    return Task(small, CachedSplit("train", x, torch.randint(0, 10, (64,), generator=generator)))


def test_a_step_is_that_of_sgd_with_nesterov_momentum(script, task):
    x, y = task.train.inputs, task.train.targets()
    descent = script("image_training").Descent(task, lambda rows: x[rows], 16, weight_decay=1e-2)
    model = small().train()
    decayed, others = ([p for p in model.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": others}]
    optimizer = torch.optim.SGD(groups, 0.1, momentum=0.9, nesterov=True)
    for step in range(6):
        rows = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:16]
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (step + 1)
        descent.rows.copy_(rows)
        descent.rate.fill_(0.02 * (step + 1))
        descent.step()
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    for found, expected in zip(descent.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_crops_are_windows_of_the_padded_image_and_of_its_mirror(script):
    image = torch.arange(3 * 36.0).view(1, 3, 6, 6) + 1
    torch.manual_seed(0)
    crops = script("image_training").Crops(image, padding=1)(torch.zeros(200, dtype=torch.int64))
    padded = F.pad(image, (1, 1, 1, 1))
    windows = [padded[0, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    windows += [window.flip(2) for window in windows]
    seen = {next(i for i, window in enumerate(windows) if torch.equal(crop, window)) for crop in crops}
    assert len(seen) == len(windows)


def test_a_square_is_cut_out(script):
    torch.manual_seed(0)
    crops = script("image_training").Crops(torch.ones(1, 3, 8, 8), padding=0, square=4)
    left_out = (crops(torch.zeros(200, dtype=torch.int64)) == 0)[:, 0].sum((1, 2))
    assert left_out.max() == 16
    assert left_out.min() == 4  # its middle is in the image


def test_the_rate_rises_and_ends_at_zero(script):
    rates = script("image_training").schedule(torch.arange(1, 101), 100)
    assert rates.argmax() == 14
    assert rates.max() == pytest.approx(1)
    assert rates[-1] == 0


def test_an_end_is_trained_for_as_many_epochs_as_there_is_time_for(script, task):
    said = []
    training = script("image_training").train_images
    model = training(task, 1, epochs=50, batch_size=16, seconds=1e-9, say=said.append)
    assert [line.split(",")[0] for line in said] == ["seed 1: epoch 1 of 50", "seed 1: epoch 2 of 50"]
    assert not model.training
    again = training(task, 1, epochs=50, batch_size=16, seconds=1e-9, say=said.append)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def test_networks_have_the_sizes_of_the_paper(script):
    networks = script("garipov_networks")
    deep, wide = networks.preresnet(), networks.vgg16(norm=False)
    layers = [layer for layer in deep.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 164 + 3  # each stage begins with a projection, which is not counted
    assert sum(p.numel() for p in wide.parameters()) == 15_245_130
    assert wide[0].weight.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="depth 163"):
        networks.preresnet(163)


def test_each_word_is_followed_by_the_next(script):
    splits = script("language_model").text(tokens=3600, words=50)
    for split in splits.values():
        inputs, targets = next(iter(split.batches(10_000)))
        assert inputs.shape[1] == 35
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        assert inputs.max() < 50
    assert len(splits["test"]) == pytest.approx(0.1 * 3600 / 35, abs=1)


def test_a_finished_row_is_not_made_again(script, tmp_path):
    results = script("measured_paths").Results
    made = []

    def make():
        made.append(1)
        return {"value": 2.0}

    for _ in range(2):
        results(tmp_path / "rows.json").row({"builder": "bezier", "options": {"bends": 1}}, make)
    results(tmp_path / "rows.json").row({"builder": "bezier", "options": {"bends": 2}}, make)
    assert len(made) == 2
    assert [row["value"] for row in json.loads((tmp_path / "rows.json").read_text())] == [2.0, 2.0]


def test_only_what_takes_a_budget_is_built_at_each(script):
    builders = script("builders")
    network = builders.NETWORKS["mlp"]
    rows = list(builders.runs(["linear", "weight-matching+bezier"], network, [0.05, 1.0]))
    assert rows == [
        ("none", "linear", 0.0, {}),
        ("weight-matching", "bezier", 0.05, {"budget": "96steps", "batch_size": 250}),
        ("weight-matching", "bezier", 1.0, {"budget": "1920steps", "batch_size": 250}),
    ]


def test_a_builder_that_cannot_is_a_row_of_the_table(script, monkeypatch):
    builders = script("builders")

    def refuse(*_, **__):
        raise ch.InputError("no such network")

    monkeypatch.setattr(builders, "measured", refuse)
    row = {"network": "vit", "align": "none", "builder": "certified", "share": 0.0, **builders.tried()}
    assert builders.row_of(row) == "| vit | none | certified |  | no such network |"
