"""The balanced gauge: least norm, and the same for all copies of a function."""

import torch
from matched_networks import moved_copy, network, random_end
from torch.func import functional_call

from connectivity_hooks.structure import moved, transformed
from connectivity_hooks_alignment.matching.by_weights.ends import working
from connectivity_hooks_alignment.matching.by_weights.gauge import balanced, gram, mixes, scales_alone, with_factors


def norm(weights):
    return float(sum(weight.square().sum() for weight in weights.values()))


def of(name, seed=1):
    model, inputs, symmetries = network(name)
    a = random_end(model, symmetries, seed)
    folded = working(symmetries, a)
    return model, inputs, symmetries, a, folded, balanced(symmetries, folded)


def test_what_writes_and_reads_a_neuron_is_of_one_size():
    _, _, symmetries, _, folded, gauge = of("residual")
    weights = moved(symmetries, folded, gauge)
    for symmetry in symmetries.symmetries:
        assert scales_alone(symmetry)
        sums = {1: 0.0, -1: 0.0}
        for member, power in with_factors(symmetry):
            sums[power] = sums[power] + member.matrices(weights[member.weight]).square().sum(-1)
        torch.testing.assert_close(sums[1], sums[-1], rtol=1e-3, atol=0)


def test_the_function_is_kept_and_the_norm_is_the_least():
    model, inputs, symmetries, a, folded, gauge = of("relu")
    expected = functional_call(model, a, (inputs,))
    torch.testing.assert_close(functional_call(model, transformed(symmetries, a, gauge), (inputs,)), expected)
    least = norm(moved(symmetries, folded, gauge))
    for seed in range(5):
        assert norm(moved_copy(symmetries, a, seed)) > least


def test_copies_of_one_function_have_one_gauge_but_for_their_order():
    _, _, symmetries, a, folded, gauge = of("cnn")
    b = working(symmetries, moved_copy(symmetries, a, 5))
    one, other = (moved(symmetries, w, g) for w, g in ((folded, gauge), (b, balanced(symmetries, b))))
    for name in one:
        sizes = [each[name].abs().flatten().sort().values for each in (one, other)]
        torch.testing.assert_close(*sizes, rtol=1e-3, atol=1e-6)


def test_what_may_be_mixed_is_written_and_read_alike():
    _, _, symmetries, _, folded, gauge = of("vit")
    weights = moved(symmetries, folded, gauge)
    mixed = [symmetry for symmetry in symmetries.symmetries if mixes(symmetry)]
    assert mixed
    for symmetry in mixed:
        torch.testing.assert_close(gram(symmetry, weights, 1), gram(symmetry, weights, -1), rtol=1e-6, atol=1e-9)


def test_neurons_that_nothing_writes_or_reads_stay():
    model, _, symmetries = network("relu")
    a = random_end(model, symmetries, 1)
    a["0.weight"][3], a["0.bias"][3] = 0, 0
    a["4.weight"][:, 2] = 0
    for element in balanced(symmetries, working(symmetries, a)).values():
        assert bool(torch.isfinite(element.factors).all())
        assert bool((element.factors > 0).all())


def test_kernels_and_statistics_and_what_a_norm_reads_take_no_factors():
    _, _, symmetries = network("residual with batch norm")
    taking = {member.weight for s in symmetries.symmetries for member, power in with_factors(s) if power == 1}
    assert "norm.weight" in taking
    assert not {"stem.weight", "norm.running_mean", "norm.running_var"} & taking
