import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from connectivity_hooks.checkpoints import fit, fit_pair, read
from connectivity_hooks.errors import InputError


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def saved(tmp_path, weights, name="x.safetensors"):
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, tmp_path / name)
    return read(tmp_path / name)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "module._orig_mod.", "student.backbone."])
def test_an_unambiguous_prefix_is_stripped_and_said(tmp_path, prefix):
    model = net()
    fitted = fit(saved(tmp_path, {prefix + key: value for key, value in model.state_dict().items()}), model)
    assert list(fitted.weights) == list(model.state_dict())
    assert prefix in fitted.notes[0]


def test_the_names_of_compiled_submodules_are_mended(tmp_path):
    model = nn.Module()
    model.inner = net()
    names = {key.replace("inner.", "inner._orig_mod."): value for key, value in model.state_dict().items()}
    assert list(fit(saved(tmp_path, names), model).weights) == list(model.state_dict())


def test_a_prefix_in_doubt_is_left_alone_and_the_difference_reported(tmp_path):
    model = net()
    names = {f"{prefix}{k}": v.clone() for prefix in ("net.", "ema.") for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=r"9 missing: 0\.weight.*18 unexpected: ema\.0\.bias"):
        fit(saved(tmp_path, names), model)


def test_the_whole_difference_is_one_line(tmp_path):
    model = net()
    weights = dict(model.state_dict())
    del weights["3.bias"]
    weights |= {
        "0.weight": torch.zeros(4, 9),
        "1.num_batches_tracked": torch.zeros(()),
        "stray": torch.zeros(1),
    }
    with pytest.raises(InputError) as error:
        fit(saved(tmp_path, weights), model)
    text = str(error.value)
    assert "\n" not in text
    assert "1 missing: 3.bias" in text
    assert "1 unexpected: stray" in text
    assert "0.weight (expected (4, 3), found (4, 9))" in text
    assert "1.num_batches_tracked (expected torch.int64, found torch.float32)" in text


def test_both_files_faults_are_said_at_once(tmp_path):
    a = saved(tmp_path, {"x": torch.ones(1)}, "a.safetensors")
    b = saved(tmp_path, {"y": torch.ones(1)}, "b.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors: .*unexpected: x.* \| .*b\.safetensors: .*unexpected: y"):
        fit_pair(a, b, net())


def test_an_alias_that_save_model_left_out_is_filled_in(tmp_path):
    model = Tied()
    save_model(model, tmp_path / "x.safetensors")
    checkpoint = read(tmp_path / "x.safetensors")
    assert len(checkpoint.weights) == 1
    fitted = fit(checkpoint, model)
    assert torch.equal(fitted.weights["head.weight"], fitted.weights["embed.weight"])


def test_tied_tensors_that_differ_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"embed\.weight and head\.weight are one tensor"):
        fit(saved(tmp_path, {"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}), Tied())


def test_the_model_is_left_as_it_is(tmp_path):
    model = net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fit(saved(tmp_path, net().state_dict()), model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
