"""Which timm models the certified builder takes, and what it says of the others."""

import pytest
import timm
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program
from connectivity_hooks_theorem.certified.network.reading import read_network
from connectivity_hooks_theorem.certified.search.neuron_pairs import first_passable


def read(name, size, **arguments):
    with torch.random.fork_rng():
        model = timm.create_model(name, num_classes=10, **arguments).eval()
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return read_network(read_program(model, images))


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
        ("test_vit", r"blocks.0.norm1 \(LayerNorm\) is a layer norm"),
        ("test_vit_relpos", r"blocks.0.norm1 \(LayerNorm\) is a layer norm"),  # reads weights alone: tables of biases
        ("test_convnext", r"stem.1 \(LayerNorm2?d?\) is a layer norm"),
        ("test_mambaout", r"stem.norm2 \(LayerNorm\) is a layer norm"),
        ("test_coatnet", r"\(LayerNorm(2d)?\) is a layer norm"),
        ("test_nfnet", r"aten.reshape \(stem.conv1.weight\) makes a weight of other weights"),
        ("efficientvit_b0", r"head.classifier.1 \(LayerNorm\) is a layer norm"),
        ("swinv2_cr_tiny_224", r"is a layer norm"),
        ("convit_tiny", r"blocks.0.norm1 \(LayerNorm\) is a layer norm"),
        ("cpubone_nano", r"\(GroupNorm1?\) is a group norm"),
        ("skresnet18", r"SelectiveKernelAttn\) is softmax attention"),
        ("res2net50_26w_4s", r"aten.split \(layer1.0\) splits a value"),
        ("densenet121", r"aten.cat \(features.denseblock1.denselayer1\) concatenates values"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(name, reason):
    sized = {"swinv2_cr_tiny_224": 64, "convit_tiny": 32}
    size = sized.get(name, 32)
    with pytest.raises(InputError, match=reason) as error:
        read(name, size, **({"img_size": size} if name.startswith(("test_v", "swin", "convit", "test_coat")) else {}))
    assert "\n" not in str(error.value)
