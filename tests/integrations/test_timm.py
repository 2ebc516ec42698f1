import json

import pytest
import timm
import torch
from safetensors.torch import load_file

import connectivity_hooks as ch
from connectivity_hooks.checking import layers_of
from connectivity_hooks.checkpoints import fit, read, write_tensors
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks_timm.adapter import TimmAdapter

save_for_hf = getattr(timm.models, "save_for_hf", None) or timm.models._hub.save_for_hf  # before timm 1.0.20


def test_a_model_is_made_by_name_and_arguments():
    model = model_factory("timm:resnet18?num_classes=7&in_chans=1")().eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 7)
    assert registry().adapter_of(model).prefix == "timm"


def test_an_unknown_model_is_refused_with_near_matches():
    with pytest.raises(UsageError, match=r"no model 'resnet81'; did you mean .*resnet18"):
        model_factory("timm:resnet81")()


@pytest.mark.parametrize("argument", ["pretrained=True", "checkpoint_path=x.pth"])
def test_nothing_is_downloaded(argument):
    with pytest.raises(UsageError, match="weights come from the checkpoints"):
        model_factory(f"timm:resnet18?{argument}")()


def test_an_argument_the_model_does_not_take_is_one_line():
    with pytest.raises(InputError, match="cannot be made with") as error:
        model_factory("timm:resnet18?wings=2")()
    assert "\n" not in str(error.value)


FAMILIES = [
    ("resnet18", 32), ("vgg11_bn", 32), ("densenet121", 32), ("mobilenetv3_small_050", 32), ("efficientnet_b0", 32),
    ("convnext_atto", 64), ("regnetx_002", 32), ("vit_tiny_patch16_224", 224), ("mixer_s32_224", 224),
    ("resnext50_32x4d", 32),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_every_layer_named_fires(name, size):
    model = timm.create_model(name, num_classes=10).eval()
    layers = layers_of(model)
    with torch.no_grad(), capture(model, layers) as features:
        model(torch.zeros(2, 3, size, size))
    assert len(layers) >= 3
    assert layers[-1].endswith(":input")
    assert not features.never_fired
    assert not features.problems


def test_capture_without_names_takes_the_stages_and_the_input_of_the_classifier():
    model = timm.create_model("resnet18", num_classes=10)
    with capture(model) as features:
        assert features.layers == ("act1", "layer1", "layer2", "layer3", "layer4", "fc:input")


def saved_folder(tmp_path, name, seed):
    torch.manual_seed(seed)
    model = timm.create_model("resnet18", num_classes=10)
    save_for_hf(model, tmp_path / name, safe_serialization=True)
    return model, tmp_path / name


def test_a_folder_of_save_for_hf_names_its_model_and_loads_strictly(tmp_path):
    model, folder = saved_folder(tmp_path, "a", 0)
    spec = TimmAdapter().model_of(folder)
    assert spec.startswith("timm:resnet18?num_classes=10")
    fresh = model_factory(spec)()
    fresh.load_state_dict(fit(read(folder), fresh).weights, strict=True)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(fresh.eval()(x), model.eval()(x))


def test_a_sampled_checkpoint_loads_through_timm(tmp_path):
    _, a = saved_folder(tmp_path, "a", 0)
    _, b = saved_folder(tmp_path, "b", 1)
    path = ch.Path.from_points([dict(read(end).weights) for end in (a, b)])
    write_tensors(tmp_path / "mid.safetensors", path(0.5), {"format": "pt"})
    loaded = timm.create_model("resnet18", num_classes=10, checkpoint_path=str(tmp_path / "mid.safetensors"))
    assert torch.equal(loaded.state_dict()["fc.weight"], load_file(tmp_path / "mid.safetensors")["fc.weight"])


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": 3},
        {"architecture": "resnet18:evil"},
        {"architecture": "resnet18", "model_args": [1]},
        {"architecture": "resnet18", "model_args": {"a&b": 1}},
        {"architecture": "resnet18", "model_args": {"x": "1&pretrained=True"}},
    ],
)
def test_a_hostile_config_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json"):
        TimmAdapter().model_of(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "bert"}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert TimmAdapter().model_of(tmp_path) is None
