"""Which timm models the certified builder takes, and what it says of the others."""

import pytest
import timm
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program
from connectivity_hooks_theorem.certified.passing import first_passable
from connectivity_hooks_theorem.certified.reading import read_network


def read(name, size):
    with torch.random.fork_rng():
        model = timm.create_model(name, num_classes=10).eval()
    return read_network(read_program(model, torch.zeros(2, 3, size, size)), model.state_dict())


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_vggs_are_chains(name):
    network = read(name, 32)
    widths = [network.spaces[network.cut_spaces(cut)[0]].width for cut in range(len(network.cuts))]
    assert widths == [3, 64, 128, 256, 256, 512, 512, 512, 512, 4096, 4096]
    assert first_passable(network) == 8
    assert any(layer.step.kind == "norm" for layer in network.layers) == name.endswith("bn")


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("resnet18", 18),
        ("resnet50", 50),
        ("resnext50_32x4d", 34),
        ("regnetx_002", 28),
        ("regnety_002", 54),
        ("wide_resnet50_2", 50),
        ("resnetv2_50", 50),
        ("efficientnet_b0", 66),
        ("mobilenetv3_small_050", 43),
    ],
)
def test_residual_networks_can_be_taken_over_in_front_of_every_layer_that_mixes_channels(name, cuts):
    network = read(name, 64)
    assert network.residual
    assert len(network.cuts) == cuts


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", r"aten.flatten \(patch_embed\) merges other axes"),
        ("res2net50_26w_4s", r"aten.split \(layer1.0\)"),
        ("convnext_atto", r"aten.permute \(stem.1\) moves neurons to another axis"),
        ("densenet121", r"aten.cat \(features.denseblock1.denselayer1\) concatenates values"),
    ],
)
def test_what_does_not_fit_is_named(name, reason):
    with pytest.raises(InputError, match=reason):
        read(name, 224 if name.startswith("vit") else 64)
