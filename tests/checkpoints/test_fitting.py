import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel

from connectivity_hooks.checkpoints import contents, fit, fit_pair, read, require_outlines
from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import assign, weights_of
from connectivity_hooks.paths import Path


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


def same_state(weights, model):
    return all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_without_num_batches_tracked_is_taken_as_a_strict_load_takes_it(tmp_path, prefix):
    model = net()
    stored = {name: tensor for name, tensor in model.state_dict().items() if name != "1.num_batches_tracked"}
    net().load_state_dict(stored, strict=True)
    fitted = fit(saved(tmp_path, {prefix + name: tensor for name, tensor in stored.items()}), model)
    assert same_state(fitted.weights, model)
    assert list(fitted.weights) == list(model.state_dict())
    assert "1 missing: 1.num_batches_tracked; filled in" in fitted.notes[-1]


def test_names_that_a_module_renames_while_it_loads_are_taken(tmp_path):
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    stored = {"bias": torch.randn(2), "weight_g": torch.rand(2, 1), "weight_v": torch.randn(2, 3)}  # before PyTorch 2
    stored = {name: tensor.double() for name, tensor in stored.items()}
    fitted = fit(saved(tmp_path, stored), model)
    assert fitted.weights.keys() == model.state_dict().keys()
    assert torch.equal(fitted.weights["parametrizations.weight.original1"], stored["weight_v"])


def test_a_scalar_stored_with_an_axis_is_taken_and_five_values_are_not(tmp_path):
    model = nn.Module()
    model.gain = nn.Parameter(torch.tensor(1.0))
    assert fit(saved(tmp_path, {"gain": torch.tensor([3.0])}), model).weights["gain"] == 3
    with pytest.raises(InputError, match=r"gain \(expected \(\), found \(5,\)\)"):
        fit(saved(tmp_path, {"gain": torch.ones(5)}), model)


class Positions(nn.Module):
    def __init__(self, step=0.1, length=4):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("positions", torch.arange(length) * step, persistent=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_buffer_that_is_no_longer_stored_is_left_out_where_the_model_has_it_too(tmp_path, dtype):
    model = Positions()
    stored = {f"net.{name}": tensor for name, tensor in model.state_dict().items()}
    fitted = fit(saved(tmp_path, stored | {"net.positions": model.positions.to(dtype)}), model)
    assert same_state(fitted.weights, model)
    assert "positions" not in fitted.weights
    assert "left out, since the model no longer stores it: positions" in fitted.notes[-1]


def test_a_buffer_that_is_no_longer_stored_and_differs_is_refused(tmp_path):
    stored = {**Positions().state_dict(), "positions": Positions().positions}
    with pytest.raises(InputError, match="positions differs from the model's own"):
        fit(saved(tmp_path, stored), Positions(step=0.2))
    with pytest.raises(InputError, match=r"1 different: positions \(expected \(5,\), found \(4,\)\)"):
        fit(saved(tmp_path, stored), Positions(length=5))


def test_the_state_of_an_averaged_model_is_that_of_the_module_in_it(tmp_path):
    model = net()
    fitted = fit(saved(tmp_path, AveragedModel(model).state_dict()), model)
    assert same_state(fitted.weights, model)
    assert "n_averaged was left out" in fitted.notes[0]


class Remembering(nn.Module):
    def __init__(self, extra):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.extra = extra

    def get_extra_state(self):
        return self.extra() if callable(self.extra) else self.extra

    def set_extra_state(self, state):
        self.extra = state


def test_extra_state_that_is_no_tensor_is_the_models_own(tmp_path):
    model = Remembering({"steps": 3})
    stored = {name: tensor for name, tensor in model.state_dict().items() if name != "_extra_state"}
    fitted = fit(saved(tmp_path, stored), model)
    assert fitted.weights.keys() == stored.keys()
    assert "the model's own: _extra_state" in fitted.notes[0]
    assign(weights_of(model), fitted.weights)


def test_extra_state_made_anew_at_every_call_cannot_be_assigned_and_is_refused_where_it_differs(tmp_path):
    model = Remembering(lambda: torch.ones(2))
    assert same_state(fit(saved(tmp_path, model.state_dict()), model).weights, model)
    with pytest.raises(InputError, match="_extra_state differs from the model's"):
        fit(saved(tmp_path, {**model.state_dict(), "_extra_state": torch.zeros(2)}), model)


def test_a_lazy_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"0\.weight has no shape yet"):
        fit(saved(tmp_path, {"0.weight": torch.ones(1)}), nn.Sequential(nn.LazyLinear(3)))


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf, -0.0]))


def masked(tmp_path, name="x", **changed):
    model = Masked()
    return saved(tmp_path, {**model.state_dict(), **changed}, f"{name}.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_infinities_that_a_fresh_model_has_are_its_own(tmp_path, dtype):
    checkpoint = masked(tmp_path, mask=Masked().mask.to(dtype))
    fitted = fit(checkpoint, Masked(), finite=True)
    assert "infinities that the model itself has: mask" in fitted.notes[0]
    a, b = fit_pair(checkpoint, masked(tmp_path, "b"), Masked(), finite=True)
    path = Path.from_points([{name: w.float() for name, w in side.weights.items()} for side in (a, b)])
    assert torch.equal(path(0.3)["mask"], Masked().mask)


@pytest.mark.parametrize(
    "changed",
    [
        {"mask": torch.tensor([-torch.inf, 0.0, 0.0])},
        {"mask": torch.tensor([0.0, torch.inf, -0.0])},
        {"mask": torch.tensor([0.0, -torch.inf, 0.0])},
        {"mask": torch.tensor([0.0, torch.nan, -0.0])},
        {"fc.bias": torch.tensor([0.0, -torch.inf])},
    ],
)
def test_other_infinities_are_refused(tmp_path, changed):
    with pytest.raises(InputError, match=f"tensor {next(iter(changed))} holds 1 NaN or Inf"):
        fit(masked(tmp_path, **changed), Masked(), finite=True)


def test_nan_is_refused_even_where_the_model_has_it(tmp_path):
    model = Masked()
    model.mask[1] = torch.nan
    with pytest.raises(InputError, match="mask holds 1 NaN or Inf"):
        fit(saved(tmp_path, model.state_dict()), model, finite=True)


def test_ends_that_do_not_share_a_mask_are_refused(tmp_path):
    a, b = masked(tmp_path, "a", mask=torch.zeros(3)), masked(tmp_path, "b")
    with pytest.raises(InputError, match="mask holds Inf in the model and differs between them"):
        fit_pair(a, b, Masked(), finite=True)


def test_what_does_not_fit_is_not_read(tmp_path, monkeypatch):
    checkpoint = saved(tmp_path, {"0.weight": torch.ones(4, 3), "stray": torch.ones(1)})
    monkeypatch.setattr(contents, "_read_tensor", None)
    with pytest.raises(InputError, match="1 unexpected: stray"):
        fit_pair(checkpoint, checkpoint, net())
    with torch.device("meta"), pytest.raises(InputError, match="1 unexpected: stray"):
        require_outlines([checkpoint], net())


def test_a_model_on_the_meta_device_shows_its_ties(tmp_path):
    save_model(Tied(), tmp_path / "x.safetensors")
    with torch.device("meta"):
        model, untied = Tied(), nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    require_outlines([read(tmp_path / "x.safetensors")], model)
    with pytest.raises(InputError, match=r"1 missing: 1\.weight"):
        require_outlines([saved(tmp_path, {"0.weight": torch.ones(2, 2)})], untied)
