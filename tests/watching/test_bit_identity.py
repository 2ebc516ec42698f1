"""A training ends at the same weights, and draws the same random numbers, with and without watching."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from watched_training import data, network, steps

import connectivity_hooks as ch

STEPS = 200
CONDITIONS = ("separability", "feature-rank", "dropout-stability", "subnetwork", "memorization")


def train(device="cpu", **watching):
    torch.manual_seed(0)
    model = network().to(device)
    if not watching:
        steps(model, STEPS, device=device)
        return model
    with ch.watch(model, **watching) as watch:
        steps(model, STEPS, watch, device=device, targets=watching.get("mode") == "training")
    assert watch.steps == STEPS
    assert len({row.step for row in watch.history}) >= 4
    assert not watch.faults
    return model


def assert_same(first, second):
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_in_probe_mode(tmp_path):
    plain = train()
    options = {"subnetwork": {"epochs": 1}, "dropout-stability": {"draws": 2}}
    conditions = {name: options.get(name, {}) for name in CONDITIONS}
    watched = train(probe=data(), every=50, conditions=conditions, at_start=True, out=tmp_path, save=tmp_path / "saved")
    assert_same(plain, watched)


def test_in_training_mode():
    plain = train()
    watched = train(mode="training", every=50, capture_every=3, conditions=["separability", "feature-rank"], samples=40)
    assert_same(plain, watched)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mode", ["probe", "training"])
def test_on_a_gpu(mode):
    watching = {"probe": data()} if mode == "probe" else {"mode": mode, "capture_every": 3, "samples": 40}
    assert_same(train("cuda"), train("cuda", every=50, conditions=["separability", "feature-rank"], **watching))


class Drawing(nn.Module):
    """A model whose forward draws from every global generator, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        noise = random.random() + np.random.rand() + torch.rand(1)
        return self.last(self.first(x + 1e-3 * noise).relu())


def test_global_random_states_are_kept_though_the_model_draws():
    model = Drawing()
    before = (torch.get_rng_state(), random.getstate(), repr(np.random.get_state()))
    with ch.watch(model, data(), every=1, layers="first", strict=True) as watch:
        watch.step()
    assert len(watch.history) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert repr(np.random.get_state()) == before[2]


def test_reading_a_shuffling_loader_draws_nothing():
    x, y = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    model = Drawing()
    state = torch.get_rng_state()
    with ch.watch(model, loader, layers="first", at_end=False) as watch:
        watch.step()
    assert torch.equal(torch.get_rng_state(), state)
