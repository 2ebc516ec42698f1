"""Drafts: what a sub-network in the making computes."""

import torch
from certified_parts import doubled, half, read
from torch.nn import functional as F

from connectivity_hooks_theorem.certified.network.stretch import Stretch
from connectivity_hooks_theorem.certified.search.draft import Draft
from connectivity_hooks_theorem.certified.search.output_layer import OutputLayer


def test_an_output_layer_reads_the_flattened_features_at_the_end():
    _, weights, network = read("convolutional")
    stretch, neurons = Stretch(network, 1, 2), half(network)
    kept = neurons[network.cut_spaces(1)[0]]
    narrow = {"4.weight": doubled(weights)["4.weight"][:, kept], "4.bias": doubled(weights)["4.bias"]}
    output = OutputLayer(torch.randn(3, 24, dtype=torch.float64), torch.randn(3, dtype=torch.float64))
    draft = Draft(narrow, output)
    x = torch.randn(9, len(kept), 3, 3, dtype=torch.float64)
    found = draft.outputs(stretch, {network.cuts[1].values[0]: x})
    features = F.silu(F.conv2d(x, narrow["4.weight"], narrow["4.bias"])).flatten(1)
    torch.testing.assert_close(found, features @ output.weight.T + output.bias)
    assert draft.reaches(stretch) == stretch


def test_without_one_the_networks_own_layers_are_run_to_the_outputs():
    _, weights, network = read("mlp")
    stretch, mine = Stretch(network, 2, 3), doubled(weights)
    draft = Draft(mine, None)
    x = torch.randn(9, 13, dtype=torch.float64)
    hidden = torch.relu(x @ mine["5.weight"].T + mine["5.bias"])
    found = draft.outputs(stretch, {network.cuts[2].values[0]: x})
    torch.testing.assert_close(found, hidden @ mine["7.weight"].T + mine["7.bias"])
    assert draft.reaches(stretch) == Stretch(network, 2)
