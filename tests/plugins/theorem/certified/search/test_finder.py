"""The sub-networks of one end: one for every cut, on its side, good for the loss it says."""

import itertools
from dataclasses import replace

import pytest
import torch
from certified_parts import read
from small_networks import exact, mlp, vector_task

from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.blocks import write_blocks
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.search.effort import EFFORTS
from connectivity_hooks_theorem.certified.search.finder import Finder
from connectivity_hooks_theorem.certified.search.fitter import Fitter
from connectivity_hooks_theorem.certified.search.setting import Setting

CASES = ["mlp", "convolutional", "grouped", "residual"]
ONE_EPOCH = replace(EFFORTS["quick"], schedule=replace(EFFORTS["quick"].schedule, epochs=2, steps=2), warm=1)


def finder_of(case, begins=0, target=1e-2, effort=ONE_EPOCH, seed=0, memory=10**9):
    task, weights, network = read(case, steps=40)
    end = read_end(network, weights, task, "A")
    setting = Setting(network, task, effort, 0, memory=memory)
    fitter = Fitter(setting, end.on_device, end.goal(target, imitate=True))
    return Finder(fitter, Sides.of(network.spaces, random_orders(network.spaces, 0)), begins, seed), weights


@pytest.fixture(scope="module", params=list(itertools.product(CASES, (0, 1))), ids=str)
def found(request):
    finder, weights = finder_of(*request.param)
    return finder, weights, list(finder.find())


def test_there_is_one_for_every_cut_but_the_inputs(found):
    finder, _, subnetworks = found
    assert sorted(each.cut for each in subnetworks) == list(range(1, len(finder.network.cuts)))


def test_each_has_the_loss_it_says_once_it_is_written(found):
    finder, weights, subnetworks = found
    task = finder.setting.task
    for each in subnetworks:
        now = dict(weights)
        write_blocks(now, each.weights, Stretch(finder.network, each.cut).layers, each.neurons)
        outputs, loss = exact(task, now, task.train)
        assert loss == pytest.approx(each.loss, rel=1e-3, abs=1e-6)
        assert float((outputs.argmax(1) != task.train.targets()).double().mean()) == pytest.approx(each.error)


def test_each_lives_on_its_side(found):
    finder, _, subnetworks = found
    for each in subnetworks:
        side = finder.sides.neurons(each.cut, finder.begins)
        for layer in Stretch(finder.network, each.cut).hidden:
            space = layer.rows.space
            assert set(each.neurons[space].tolist()) <= set(side[space].tolist())


def test_none_reads_what_the_one_before_lives_in(found):
    finder, _, subnetworks = found
    by_cut = {each.cut: each for each in subnetworks}
    for cut in range(2, len(finder.network.cuts)):
        before = by_cut[cut - 1]
        lives = {layer.rows.space for layer in Stretch(finder.network, before.cut).hidden}
        for space in finder.network.cut_spaces(cut):
            reads = set(by_cut[cut].neurons[space].tolist())
            assert space not in lives or not reads & set(before.neurons[space].tolist())


def test_features_that_one_cut_alone_sees_are_read_wherever_they_are_left():
    finder, _ = finder_of("mlp")
    for each in finder.find():
        (space,) = finder.network.cut_spaces(each.cut)
        width = finder.network.spaces[space].width
        if each.cut == 1:
            assert len(each.neurons[space]) == width // 2
        else:
            assert len(each.neurons[space]) >= width - width // 2


def test_both_ends_begin_with_as_many_features_and_read_none_twice():
    reads = []
    for begins in (0, 1):
        finder, _ = finder_of((vector_task, lambda: mlp(13, 12)), begins)
        (first,) = (each for each in finder.find() if each.cut == 1)
        (space,) = finder.network.cut_spaces(1)
        reads.append(set(first.neurons[space].tolist()))
    assert [len(each) for each in reads] == [6, 6]  # the middle one of 13 is read by neither
    assert not reads[0] & reads[1]


def test_the_seed_and_nothing_else_decides():
    unseen = replace(ONE_EPOCH, held_out=-1.0)  # no probe generalises: layers are trained
    one, again, other = (list(finder_of("mlp", effort=unseen, seed=seed)[0].find()) for seed in (0, 0, 1))
    same = [all(a.weights[name].equal(b.weights[name]) for name in a.weights) for a, b in zip(one, again, strict=True)]
    assert all(same)
    assert any(
        not a.weights[name].equal(b.weights[name]) for a, b in zip(one, other, strict=True) for name in a.weights
    )


def test_memory_decides_where_features_are_and_not_what_is_found():
    held, computed = (list(finder_of("residual", memory=memory)[0].find()) for memory in (10**9, 1))
    for one, other in zip(held, computed, strict=True):
        for name in one.weights:
            torch.testing.assert_close(one.weights[name], other.weights[name], rtol=1e-3, atol=1e-4)


def test_the_cheapest_that_reaches_the_goal_is_taken():
    easy, _ = finder_of("mlp", target=1e9, effort=replace(ONE_EPOCH, held_out=1.0))
    assert [each.trained for each in easy.find()] == [0, 0, 0]  # probes
    unseen, _ = finder_of("mlp", target=1e9, effort=replace(ONE_EPOCH, held_out=-1.0, hidden=1))
    assert [each.trained for each in unseen.find()] == [1, 1, 0]  # no probe generalises; the last is examined by none
    hard, _ = finder_of("mlp", target=0.0, effort=replace(ONE_EPOCH, held_out=1.0))
    losses = [each.loss for each in hard.find()]
    assert all(loss <= other.loss for loss, other in zip(losses, easy.find(), strict=True))


def test_where_no_pairs_have_room_all_layers_are_trained():
    finder, _ = finder_of("mlp", target=1e9, effort=replace(ONE_EPOCH, held_out=1.0, hidden=1))
    narrow = replace(finder, sides=Sides(tuple((one[:5], two[:5]) for one, two in finder.sides.by_space)))
    assert [each.trained for each in narrow.find()] == [2, 1, 0]  # five neurons are too few for three pairs
