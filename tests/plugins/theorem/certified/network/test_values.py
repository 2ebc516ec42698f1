"""Values at a cut: batches, all samples in one tensor, some neurons alone."""

import torch
from certified_parts import half, read

from connectivity_hooks.structure.program import INPUT
from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.network.values import gathered, in_batches, inputs, restricted


def test_inputs_are_the_values_at_cut_0():
    task, _, network = read("mlp")
    batches = list(inputs(task.train, 100))
    assert [tuple(batch) for batch in batches] == [(INPUT,)] * 3 == [network.cuts[0].values] * 3
    assert torch.cat([batch[INPUT] for batch in batches]).equal(task.train.inputs)


def test_batches_put_together_are_what_was_taken_apart():
    values = {"a": torch.randn(23, 4), "b": torch.randn(23, 2, 3)}
    parts = list(in_batches(values, 10))
    assert [len(part["a"]) for part in parts] == [len(part["b"]) for part in parts] == [10, 10, 3]
    for name, whole in gathered(parts, 23).items():
        assert whole.equal(values[name])


def test_values_are_rounded_where_asked_to():
    values = {"a": torch.randn(23, 4)}
    assert gathered(in_batches(values, 10), 23, torch.bfloat16)["a"].equal(values["a"].to(torch.bfloat16))


def test_values_are_written_over_what_is_there_only_where_they_fit():
    values = {"a": torch.randn(23, 4)}
    room = values["a"].clone()
    assert gathered(in_batches(values, 10), 23, into=room)["a"].data_ptr() == room.data_ptr()
    for other in (torch.empty(23, 5), torch.empty(22, 4), torch.empty(23, 4, dtype=torch.float64)):
        assert gathered(in_batches(values, 10), 23, into=other)["a"].equal(values["a"])
    two = {**values, "b": torch.randn(23, 4)}
    assert gathered(in_batches(two, 10), 23, into=room)["a"].data_ptr() != room.data_ptr()


def test_a_neuron_is_a_channel_and_after_flattening_all_its_positions():
    task, weights, network = read("convolutional")
    neurons, x = half(network), {INPUT: task.train.inputs}
    maps = Stretch(network, 0, 1).run(weights, x)
    for name, value in restricted(network, maps, neurons).items():
        assert value.equal(maps[name][:, neurons[network.axes[name].space]])
    flat = Stretch(network, 0, 2).run(weights, x)
    ((name, value),) = restricted(network, flat, neurons).items()
    kept = neurons[network.axes[name].space]
    wide = flat[name].view(len(value), 6, 4)  # six channels of 2×2 positions
    assert value.equal(wide[:, kept].flatten(1))
    every = {space: torch.arange(network.spaces[space].width) for space in neurons}
    assert (
        restricted(network, maps, every)[network.cuts[1].values[0]].data_ptr() == next(iter(maps.values())).data_ptr()
    )
