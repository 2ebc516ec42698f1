"""Features of timm's models have the neurons of their own channels, whichever axis they are on."""

import pytest
import timm
import torch

from connectivity_hooks.checking import observe
from connectivity_hooks.tasks import CachedSplit, Task

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
