"""Models are compared with checkpoints before they are made: here a library that remembers where it made them."""

import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from connectivity_hooks import memory
from connectivity_hooks.checkpoints import read
from connectivity_hooks.contracts import Adapter
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.registry import registry
from connectivity_hooks.registry.loading import Origin
from connectivity_hooks.registry.registry import Entry
from connectivity_hooks.tasks import make_task
from connectivity_hooks.tasks.skeleton import check_size

ORIGIN = Origin("layered", "tests", "1", __name__)


class Layered(Adapter):
    prefix = "layered"
    made_on: ClassVar[list[str]] = []

    def create(self, name, arguments):
        if name != "mlp":
            raise UsageError(f"layered has no model {name!r}")
        width, depth = arguments.get("width", 3), arguments.get("depth", 1)
        Layered.made_on.append(torch.empty(0).device.type)
        try:
            if arguments.get("needs_values"):
                assert torch.ones(1).item() == 1
            return nn.Sequential(nn.Flatten(), *(nn.Linear(width, width) for _ in range(depth)))
        except Exception as error:
            raise InputError(f"layered: {error}") from None

    def claims(self, model):
        return False

    def layers(self, model):
        return ()


@pytest.fixture(autouse=True)
def library(monkeypatch):
    monkeypatch.setattr(Layered, "made_on", [])
    monkeypatch.setitem(registry().adapters, "layered", Entry("layered", Layered, ORIGIN))


@pytest.fixture
def checkpoint(tmp_path):
    save_file({"1.weight": torch.ones(3, 3), "1.bias": torch.ones(3)}, tmp_path / "x.safetensors")
    return read(tmp_path / "x.safetensors")


def test_a_model_of_another_size_is_never_made(checkpoint):
    with pytest.raises(InputError, match=r"1\.weight \(expected \(3000000, 3000000\), found \(3, 3\)\)"):
        make_task(model="layered:mlp?width=3000000", data="missing.npz", checkpoints=[checkpoint])
    assert Layered.made_on == ["meta"]


def test_a_model_that_fits_is_made_and_nothing_is_read(checkpoint):
    before = torch.get_rng_state()
    check_size("layered:mlp", [checkpoint, checkpoint])
    assert torch.equal(torch.get_rng_state(), before)
    assert not checkpoint.is_read


def test_layers_without_end_are_ended(checkpoint):
    with pytest.raises(InputError, match="more than 1004 parameters"):
        check_size("layered:mlp?depth=9000000", [checkpoint])


def test_a_length_no_tensor_can_have_is_refused(checkpoint):
    with pytest.raises(InputError, match="depth is 1000000000, and the checkpoint has 12 values in all"):
        check_size("layered:mlp?depth=1000000000", [checkpoint])
    with pytest.raises(InputError, match="depth is 1000000000"):
        check_size("layered:mlp?depth=[[1],(1000000000,)]", [checkpoint])
    assert not Layered.made_on


def test_a_model_larger_than_memory_is_refused_without_checkpoints_too(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    with pytest.raises(InputError, match=r"layered:mlp\?width=1000: needs 4 MB of memory, 1 MB are free"):
        check_size("layered:mlp?width=1000", [])
    check_size("layered:mlp?width=100", [])


def test_a_constructor_that_needs_values_is_left_to_the_comparison_with_the_model_itself(checkpoint):
    check_size("layered:mlp?needs_values=1&width=5", [checkpoint])
    check_size("tests.nothing:mlp", [checkpoint])
    with pytest.raises(UsageError, match="no model 'mpl'"):
        check_size("layered:mpl", [checkpoint])


def test_parameters_are_counted_while_the_size_is_looked_at_and_not_after(checkpoint):
    check_size("layered:mlp", [checkpoint])
    assert len(nn.ModuleList(nn.Linear(1, 1) for _ in range(600))) == 600


def test_what_timm_writes_into_a_folder_is_compared_before_the_model_is_made(tmp_path):
    timm = pytest.importorskip("timm")
    from connectivity_hooks_timm.folder import model_of_folder

    save_file(timm.create_model("resnet10t", num_classes=3).state_dict(), tmp_path / "model.safetensors")
    for classes, words in ((3, None), (3_000_000, r"fc\.weight \(expected \(3000000, 512\), found \(3, 512\)\)")):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "num_classes": classes}))
        spec = model_of_folder(tmp_path)
        if words is None:
            check_size(spec, [read(tmp_path)])
        else:
            with pytest.raises(InputError, match=words):
                check_size(spec, [read(tmp_path)])


@pytest.mark.parametrize("content", ["[" * 100_000, "\0", "{", "[]", '{"architectures": ["A"]}'])
def test_a_configuration_of_another_library_or_none_names_no_model(tmp_path, content):
    from connectivity_hooks_timm.folder import model_of_folder

    (tmp_path / "config.json").write_text(content)
    assert model_of_folder(tmp_path) is None


@pytest.mark.parametrize("rest", ['"architecture": [[]]', '"architecture": "a", "model_args": 3'])
def test_a_damaged_configuration_of_timm_is_refused(tmp_path, rest):
    from connectivity_hooks_timm.folder import model_of_folder

    (tmp_path / "config.json").write_text("{" + rest + "}")
    with pytest.raises(InputError, match="say --model"):
        model_of_folder(tmp_path)
