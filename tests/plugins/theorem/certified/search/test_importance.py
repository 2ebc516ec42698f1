"""The importance of neurons against a look at each of them."""

import pytest
import torch
from certified_parts import doubled, read
from small_networks import exact, mlp, trained, vector_task
from torch.nn import functional as F

from connectivity_hooks_theorem.certified.builder import read_task
from connectivity_hooks_theorem.certified.ends import read_end
from connectivity_hooks_theorem.certified.network.sides import Sides, random_orders
from connectivity_hooks_theorem.certified.search.importance import ProbeImportance, ReadImportance, by_importance


def importance(case, kind):
    task, weights, network = read(case)
    return task, doubled(weights), network, read_end(network, weights, task, "A", kind(network)).importance


def test_a_channel_counts_its_deviation_over_all_positions_times_the_weights_that_read_it():
    task, weights, network, found = importance("convolutional", ReadImportance)
    net = task.factory().double().eval()
    net.load_state_dict(weights)
    readers = {4: net[:4], 7: net[:6], 9: net[:9]}  # the layer that reads, and what it reads
    for number, before in readers.items():
        value, weight = before(task.train.inputs.double()).detach(), weights[f"{number}.weight"]
        wanted = []
        for neuron in range(value.shape[1]):
            each = weight.view(len(weight), value.shape[1], -1)[:, neuron]  # all weights that read its positions
            wanted.append(value[:, neuron].flatten().std(correction=0) * each.norm())
        (space,) = network.cut_spaces({4: 1, 7: 2, 9: 3}[number])
        torch.testing.assert_close(found[space], torch.stack(wanted) / sum(wanted), rtol=1e-3, atol=1e-6)


def test_a_stream_is_read_by_every_layer_behind_it():
    task, weights, network, found = importance("residual", ReadImportance)
    x = task.train.inputs.double()
    net = task.factory().double().eval()
    net.load_state_dict(weights)
    stem = torch.relu(net.norm(net.stem(x)))
    inner = torch.relu(net.up(stem))
    end = torch.relu(stem + net.down(inner))
    spaces = [network.cut_spaces(cut) for cut in range(1, len(network.cuts))]
    (stream,) = spaces[0]
    assert spaces[1][0] == stream or spaces[1][1] == stream
    # At three cuts the stream is seen: behind the stem, beside the inner features, and pooled before the head.
    seen = torch.cat([stem.transpose(0, 1).flatten(1)] * 2 + [end.mean((2, 3)).T], 1).detach()
    reads = weights["up.weight"].square().sum((0, 2, 3)) + weights["head.weight"].square().sum(0)
    wanted = seen.std(1, correction=0) * reads.sqrt()
    torch.testing.assert_close(found[stream], wanted / wanted.sum(), rtol=1e-3, atol=1e-6)


def test_each_end_keeps_what_matters_more_to_it():
    task = vector_task(lambda: mlp(12, 12))
    ends = [trained(task, seed, steps=20) for seed in (1, 2)]
    ends[0]["3.weight"][:, :6] *= 10
    ends[1]["3.weight"][:, 6:] *= 10
    network = read_task(ends[0], task)
    measures = [ReadImportance(network), ReadImportance(network)]
    found = [read_end(network, *of) for of in zip(ends, [task] * 2, "AB", measures, strict=True)]
    for end in found:
        assert all(float(share.sum()) == pytest.approx(1) for share in end.importance.values())
    orders = by_importance(network, [end.importance for end in found], 0)
    sides = Sides.of(network.spaces, orders)
    (space,) = network.cut_spaces(1)
    kept = [set(sides.side(space, 1, number).tolist()) for number in (0, 1)]
    assert len(kept[0] & set(range(6))) > len(kept[1] & set(range(6)))
    assert not kept[0] & kept[1]


def test_at_every_cut_the_end_that_reads_a_neuron_is_the_one_it_matters_more_to():
    _, _, network = read("mlp")
    generator = torch.Generator().manual_seed(0)
    shares = [
        {space: torch.rand(network.spaces[space].width, generator=generator) for space in (1, 2, 3)} for _ in "AB"
    ]
    sides = Sides.of(network.spaces, by_importance(network, shares, 0))
    for cut in (1, 2, 3):
        (space,) = network.cut_spaces(cut)
        gain = shares[0][space] - shares[1][space]
        first, second = (sides.side(space, cut, end) for end in (0, 1))
        assert gain[first].min() >= gain[second].max()


def test_a_stream_both_ends_read_in_turn_is_ordered_at_random():
    _, _, network = read("residual")
    shares = [{space: torch.rand(network.spaces[space].width) for space in range(len(network.spaces))} for _ in "AB"]
    (stream,) = network.cut_spaces(1)
    assert by_importance(network, shares, 4)[stream].equal(random_orders(network.spaces, 4)[stream])


def test_the_importance_by_a_probe_is_that_of_the_librarys_least_squares():
    task, weights, network, found = importance("mlp", ProbeImportance)
    (space,) = network.cut_spaces(1)
    x = task.train.inputs.double()
    features = torch.relu(F.linear(x, weights["1.weight"], weights["1.bias"]))
    extended = torch.cat([features, torch.ones(len(x), 1)], 1)
    probe = torch.linalg.lstsq(extended, exact(task, weights, task.train)[0]).solution[:-1]
    wanted = features.std(0, correction=0) * probe.norm(dim=1)
    torch.testing.assert_close(found[space], wanted / wanted.sum(), rtol=1e-3, atol=1e-5)


def test_a_probe_reads_maps_averaged_over_positions_and_no_stream():
    task, weights, network, found = importance("residual", ProbeImportance)
    net = task.factory().double().eval()
    net.load_state_dict(weights)
    x = task.train.inputs.double()
    inner = torch.relu(net.up(torch.relu(net.norm(net.stem(x))))).mean((2, 3)).detach()
    extended = torch.cat([inner, torch.ones(len(x), 1)], 1)
    probe = torch.linalg.lstsq(extended, exact(task, weights, task.train)[0]).solution[:-1]
    wanted = inner.std(0, correction=0) * probe.norm(dim=1)
    ((space, share),) = found.items()
    assert network.spaces[space].width == 5
    torch.testing.assert_close(share, wanted / wanted.sum(), rtol=1e-3, atol=1e-5)
