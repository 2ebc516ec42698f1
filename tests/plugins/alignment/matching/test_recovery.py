"""A copy of a network that was moved by a random element of every group is found again."""

import pytest
import torch
from matched_networks import NETWORKS, moved_copy, network, random_end
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from connectivity_hooks.structure import Group, transformed
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights


def barrier(model, inputs, a, b):
    """Return how far the loss rises above both ends on the line; of outputs brought to one size, by the a's own."""
    own = functional_call(model, a, (inputs,)).detach()
    size = 3 / (own - own.mean(0)).std()

    def loss(t):
        weights = {name: torch.lerp(a[name], b[name], t) if a[name].is_floating_point() else a[name] for name in a}
        outputs = functional_call(model, weights, (inputs,)) - own.mean(0)
        return float(cross_entropy(size * outputs, (size * (own - own.mean(0))).softmax(1)))

    with torch.no_grad():
        losses = [loss(step / 8) for step in range(9)]
    return max(value - (1 - step / 8) * losses[0] - step / 8 * losses[8] for step, value in enumerate(losses))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_moved_copy_is_recovered(name, seed):
    model, inputs, symmetries = network(name)
    a = random_end(model, symmetries, seed)
    b = moved_copy(symmetries, a, seed + 10)
    found = match_weights(symmetries, a, b)
    recovered = transformed(symmetries, b, found.elements, like=a)
    mixed = any(Group.MIX in symmetry.group for symmetry in symmetries.symmetries)
    assert barrier(model, inputs, a, b) > 1e-2
    assert barrier(model, inputs, a, recovered) < (1e-4 if mixed else 1e-5)
    assert found.after < 1e-3 * found.before
    assert found.converged


@pytest.mark.parametrize("name", ["relu", "residual with batch norm", "vit"])
def test_single_precision_is_enough_to_recover_it(name):
    model, _, symmetries = network(name)
    a = random_end(model, symmetries, 1)
    b = moved_copy(symmetries, a, 11)
    single = [{k: w.float() if w.is_floating_point() else w for k, w in end.items()} for end in (a, b)]
    found = match_weights(symmetries, *single)
    assert found.after < 1e-3 * found.before


def test_a_wide_stream_that_inputs_and_outputs_do_not_determine_is_found_by_sweeps():
    from timm.models.vision_transformer import VisionTransformer

    from connectivity_hooks.structure import read_program, read_symmetries

    model = VisionTransformer(img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=64, depth=2, num_heads=4)
    model = model.double().eval()
    symmetries = read_symmetries(read_program(model, torch.randn(2, 1, 8, 8, dtype=torch.float64)))
    a = random_end(model, symmetries, 3)
    found = match_weights(symmetries, a, moved_copy(symmetries, a, 4))
    assert found.sweeps > 1
    assert found.after < 1e-3 * found.before
