"""The parts of the certified builder, each against a plain look at the same thing."""

import pytest
import torch
from small_networks import assert_proven, certified, exact, image_task, mlp, trained, vector_task
from torch import nn

from connectivity_hooks.structure import read_program
from connectivity_hooks.tasks import LOSSES
from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.blocks import clear_unread, neurons_read
from connectivity_hooks_theorem.certified.network.sides import Sides
from connectivity_hooks_theorem.certified.search.importance import ProbeImportance, ReadImportance, by_importance
from connectivity_hooks_theorem.certified.search.neuron_pairs import pair_gain
from connectivity_hooks_theorem.certified.search.output_layer import Goal, best_factor
from connectivity_hooks_theorem.certified.search.parallel import in_turn, together
from connectivity_hooks_theorem.probes.least_squares import fit_least_squares

GAINS = {
    nn.ReLU: 1.0,
    nn.GELU: 1.0,
    nn.SiLU: 1.0,
    nn.Hardswish: 1.0,
    nn.Softplus: 1.0,
    nn.LeakyReLU: 1.01,
    nn.Tanh: None,
    nn.Sigmoid: None,
    nn.ELU: None,
    nn.ReLU6: None,
}


@pytest.mark.parametrize("activation", GAINS, ids=lambda kind: kind.__name__)
def test_pairs_of_neurons_pass_values_where_the_odd_part_is_linear(activation):
    program = read_program(nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2)), torch.randn(2, 3))
    steps = [step for step in program.steps if step.kind == "activation"]
    gain = pair_gain(steps)
    assert gain == (None if GAINS[activation] is None else pytest.approx(GAINS[activation], rel=1e-6))
    if gain is not None:
        z = 30 * torch.randn(1000, 1, dtype=torch.float64)
        torch.testing.assert_close((activation()(z) - activation()(-z)) / gain, z)


def network_of(task):
    weights = task.model().state_dict()
    return read_task(weights, task)


def test_a_cut_stands_before_every_layer_that_reads_another():
    task = image_task(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
    )
    network = network_of(task)
    names = [[layer.step.weights["weight"] for layer in network.layers_from(cut)] for cut in range(len(network.cuts))]
    assert names == [["0.weight", "1.weight", "4.weight", "7.weight"], ["4.weight", "7.weight"], ["7.weight"]]
    assert [space.width for space in network.spaces] == [2, 4, 6, 3]


def test_neurons_that_are_not_read_change_nothing():
    task = vector_task(lambda: mlp(12, 13, 14))
    network, weights = network_of(task), trained(task, 1, steps=5)
    weights["3.weight"][:, 5] = 0
    weights["5.weight"][:, 2] = 0
    weights["7.weight"][:, 9] = 0
    read = neurons_read(weights, network)
    names = {layer.step.weights["weight"]: read[layer.step.name] for layer in network.layers}
    assert {key: (~mask).nonzero().flatten().tolist() for key, mask in names.items()} == {
        "1.weight": [5],
        "3.weight": [2],
        "5.weight": [9],
        "7.weight": [],
    }
    before = exact(task, weights, task.train)[0]
    clear_unread(weights, network)
    assert not weights["3.weight"][2].any()
    torch.testing.assert_close(exact(task, weights, task.train)[0], before, rtol=0, atol=0)


def test_least_squares_are_those_of_the_library():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 7, generator=generator).relu()
    outputs = torch.randn(300, 3, generator=generator)
    weight, bias = fit_least_squares(features, outputs)
    extended = torch.cat([features, torch.ones(300, 1)], 1).double()
    wanted = torch.linalg.lstsq(extended, outputs.double()).solution.T
    torch.testing.assert_close(weight, wanted[:, :-1].float(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(bias, wanted[:, -1].float(), rtol=1e-3, atol=1e-5)
    plain, none = fit_least_squares(features, outputs, intercept=False)
    wanted = torch.linalg.lstsq(features.double(), outputs.double()).solution.T
    torch.testing.assert_close(plain, wanted.float(), rtol=1e-3, atol=1e-5)
    assert none is None


def test_least_squares_take_dead_and_repeated_features():
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    features = torch.cat([features, features, torch.zeros(50, 2)], 1)
    weight, bias = fit_least_squares(features, features[:, :2] + 1)
    torch.testing.assert_close(features @ weight.T + bias, features[:, :2] + 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("target", [1e-1, 1e-4])
def test_the_factor_is_the_least_that_reaches_the_target(noise, target):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    outputs = nn.functional.one_hot(labels, 3) + noise * torch.randn(200, 3, generator=generator)
    goal = Goal(labels, LOSSES["cross-entropy"], 3, None, target)
    grid = {power: goal.measure(outputs * 2 ** (power / 8)) for power in range(-80, 81)}
    reaching = [power for power, loss in grid.items() if loss <= target and power >= 0]
    found = goal.measure(outputs * best_factor(outputs, goal))
    if reaching:
        assert best_factor(outputs, goal) == 2 ** (reaching[0] / 8)
    else:
        assert found == pytest.approx(min(grid.values()), rel=0.02)


def test_each_end_keeps_what_matters_more_to_it():
    task = vector_task(lambda: mlp(12, 12))
    ends = [trained(task, seed, steps=20) for seed in (1, 2)]
    ends[0]["3.weight"][:, :6] *= 10
    ends[1]["3.weight"][:, 6:] *= 10
    network = network_of(task)
    measures = [ReadImportance(network), ReadImportance(network)]
    read = [read_end(network, *of) for of in zip(ends, [task] * 2, "AB", measures, strict=True)]
    for end in read:
        assert all(float(share.sum()) == pytest.approx(1) for share in end.importance.values())
    orders = by_importance(network, [end.importance for end in read], 0)
    sides = Sides.of(network.spaces, orders)
    (space,) = network.cut_spaces(1)
    kept = [set(sides.side(space, 1, number).tolist()) for number in (0, 1)]
    assert len(kept[0] & set(range(6))) > len(kept[1] & set(range(6)))
    assert not kept[0] & kept[1]


def test_the_importance_by_a_probe_is_that_of_the_librarys_least_squares():
    task = vector_task(lambda: mlp(12, 12))
    end, network = trained(task, 1, steps=20), network_of(task)
    found = read_end(network, end, task, "A", ProbeImportance(network)).importance
    (space,) = network.cut_spaces(1)
    x = task.train.inputs.double()
    features = torch.relu(x @ end["1.weight"].double().T + end["1.bias"].double())
    extended = torch.cat([features, torch.ones(len(x), 1)], 1)
    probe = torch.linalg.lstsq(extended, exact(task, end, task.train)[0]).solution[:-1]
    wanted = features.std(0, correction=0) * probe.norm(dim=1)
    torch.testing.assert_close(found[space], wanted / wanted.sum(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("subsets", ["random", "probe"])
def test_other_subsets_are_proven_too(subsets):
    task = vector_task(lambda: mlp(24, 24))
    a, b = trained(task, 1), trained(task, 2)
    path = certified(subsets=subsets, effort="quick").build(a, b, task)
    assert_proven(task, path)
    bounds = [exact(task, point, task.train)[1] for point in path.points()]
    assert max(bounds) < 0.3


def test_sub_networks_learn_targets_where_asked_to():
    task = vector_task(lambda: mlp(24, 24))
    a, b = trained(task, 1), trained(task, 2)
    paths = [certified(learn=learn, effort="quick").build(a, b, task) for learn in ("outputs", "targets")]
    for path in paths:
        assert_proven(task, path, tolerance=1e-6)
    mine, theirs = (path(0.5)["5.weight"] for path in paths)
    assert not mine.equal(theirs)


def numbers(start, fail=False):
    def work():
        yield from range(start, start + 3)
        if fail:
            raise ValueError("no such luck")

    return work


def test_works_side_by_side_yield_what_they_yield_in_turn():
    cores = torch.get_num_threads()
    works = [numbers(0), numbers(10)]
    assert sorted(together(works)) == list(in_turn(works)) == [(0, 0), (0, 1), (0, 2), (1, 10), (1, 11), (1, 12)]
    assert torch.get_num_threads() == cores


def test_an_exception_of_a_work_comes_out():
    with pytest.raises(ValueError, match="no such luck"):
        list(together([numbers(0), numbers(10, fail=True)]))
