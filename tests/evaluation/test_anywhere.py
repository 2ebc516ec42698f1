"""Weights on no path are measured as those of a path are."""

import pytest
import torch
from small_networks import mlp, vector_task
from torch import nn
from torch.nn.utils import parametrizations
from written_networks import drawn, loss_of

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation import Anywhere, make_correction


def network():
    return mlp(8)


def between(a, b, t):
    def write(into):
        for name, target in into.items():
            torch.lerp(a[name], b[name], t, out=target)

    return write


def mean(scores):
    return float(scores.losses.sums.double().sum() / scores.losses.weights.double().sum())


def test_places_on_a_line_have_the_losses_of_the_line_in_every_split_and_order():
    task, a, b = vector_task(network), drawn(network, 0), drawn(network, 1)
    path, ts = ch.Path.from_points([a, b]), [i / 20 for i in range(21)]
    curves = ch.evaluate(path, task, points=21, refine=0).curves
    with Anywhere(path, task) as anywhere:
        found = list(anywhere.scores([t if t in (0, 1) else between(a, b, t) for t in ts]))
    for number, split in enumerate(task.splits()):
        losses = [mean(scores[number]) for scores in found]
        assert losses == pytest.approx([point.loss for point in curves[split.name]], rel=1e-7)


def test_vectors_of_spectral_norms_are_those_of_the_weights_there():
    def factory():
        return nn.Sequential(parametrizations.spectral_norm(nn.Linear(10, 6)), nn.ReLU(), nn.Linear(6, 3))

    task, a, b = vector_task(factory), drawn(factory, 0), drawn(factory, 1)
    with Anywhere(ch.Path.from_points([a, b]), task) as anywhere:
        ((train, _),) = anywhere.scores([between(a, b, 0.5)])
    weight = (a["0.parametrizations.weight.original"] + b["0.parametrizations.weight.original"]) / 2
    plain = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))
    state = {"0.weight": weight / torch.linalg.matrix_norm(weight.double(), 2).float()}
    state |= {name: (a[name] + b[name]) / 2 for name in ("0.bias", "2.weight", "2.bias")}
    plain.load_state_dict(state)
    assert mean(train) == pytest.approx(loss_of(vector_task(lambda: plain), state)[0], rel=1e-4)


def test_a_correction_that_goes_by_t_is_refused():
    path = ch.Path.from_points([drawn(network, 0), drawn(network, 1)])
    with pytest.raises(UsageError, match="repair needs a path"):
        Anywhere(path, vector_task(network), make_correction("repair"))
