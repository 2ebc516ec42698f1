"""Features of timm's models have the neurons of their own channels, whichever axis they are on."""

import pytest
import timm
import torch

import connectivity_hooks as ch
from connectivity_hooks.checking import observe
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_timm.output_format import output_formats

MODELS = {
    "swin_tiny_patch4_window7_224": (
        {"img_size": 56, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4)},
        56,
        {"patch_embed": 24, "layers.0": 24, "layers.0.blocks.0.mlp.act": 96, "layers.1": 48, "norm": 48},
    ),
    "test_convnext": (
        {},
        32,
        {"stages.0": 24, "stages.0.blocks.0.norm": 24, "stages.0.blocks.0.mlp.fc1": 96, "stages.3": 64},
    ),
    "mixer_s32_224": (
        {"img_size": 64},
        64,
        {
            **{"blocks.0": 512, "blocks.0.mlp_tokens.fc1": 256, "blocks.0.mlp_tokens.act": 256},
            "blocks.0.mlp_channels.fc1": 2048,
        },
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_neurons_are_the_channels_of_maps_and_tokens(name):
    arguments, size, widths = MODELS[name]
    model = timm.create_model(name, num_classes=3, **arguments).eval()
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    task = Task(lambda: model, CachedSplit("train", x, torch.arange(4) % 3))
    assert observe(model, task, layers=list(widths)).widths() == widths
    stages = {stage["module"]: stage["num_chs"] for stage in model.feature_info}
    assert observe(model, task, layers=list(stages)).widths() == stages


def test_what_timm_says_of_its_axes_is_taken_where_lengths_tell_nothing():
    """Maps as high, and as wide, as they have channels: alone of a batch nothing but `output_fmt` tells."""

    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=96, embed_dim=24, depths=(1, 1), num_heads=(2, 2)
    )
    assert (model.output_fmt, len(model.feature_info)) == ("NHWC", 2)
    told = output_formats(model)
    assert (told["patch_embed"], told["layers.0"]) == ("NHWC", "NHWC")
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        maps = model.layers[0](model.patch_embed(images))
    assert maps.shape == (2, 24, 24, 24)
    with ch.capture(model.eval(), "layers.0", pool="mean") as features, torch.no_grad():
        model(images)
    torch.testing.assert_close(features["layers.0"], maps.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_tokens_of_a_flattened_patch_embedding_are_no_maps():

    model = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=12, depth=1, num_heads=2).eval()
    with ch.capture(model, ["patch_embed", "blocks.0"], pool={"blocks.*": "class"}) as features, torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
    assert {name: tuple(each.shape) for name, each in features.items()} == {"patch_embed": (2, 12), "blocks.0": (2, 12)}
