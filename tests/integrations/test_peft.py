"""Folders of PEFT's adapters on one base: connected in the adapter's weights alone, aligned, and written back."""

import copy
import json

import numpy as np
import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import fit, read
from connectivity_hooks.model import weights_of
from connectivity_hooks.paths import Path
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.testing import AdapterSuite

hf = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytest.importorskip("accelerate")

LOADERS = """
import torch

def loaders():
    g = torch.Generator().manual_seed(0)
    def batch():
        x = torch.randint(20, (16, 6), generator=g)
        return {"input_ids": x, "labels": torch.cat([x[:, 1:], torch.full((16, 1), -100)], 1)}
    return [batch(), batch()], [batch()]

def classes():
    g = torch.Generator().manual_seed(0)
    def batch():
        return {"input_ids": torch.randint(20, (16, 6), generator=g), "labels": torch.randint(5, (16,), generator=g)}
    return [batch(), batch()], [batch()]
"""
SMALL = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}


def gpt2(**changes):
    given = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2, **changes}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**given))


def llama():
    return hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, num_key_value_heads=1, max_position_embeddings=8))


def bert(labels=2):
    return hf.BertForSequenceClassification(hf.BertConfig(**SMALL, max_position_embeddings=8, num_labels=labels))


def vit():
    given = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    return hf.ViTForImageClassification(hf.ViTConfig(**given, image_size=8, patch_size=4, num_labels=3))


def save(base, where, kind="LoraConfig", seed=0, **given):
    """Save an adapter of random values, whatever its way of starting."""
    given = {"r": 3, **given} if kind == "LoraConfig" else given
    torch.manual_seed(seed)
    model = peft.get_peft_model(copy.deepcopy(base), getattr(peft, kind)(**given))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(where)


def change(folder, **entries):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def from_folders(base, adapter, dtype=torch.float64):
    return peft.PeftModel.from_pretrained(type(base).from_pretrained("base"), adapter).to(dtype).eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a GPT-2 and two adapters of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(LOADERS)
    torch.manual_seed(0)
    base = gpt2()
    base.save_pretrained("base")
    for seed, name in enumerate("ab"):
        save(base, name, seed=seed, task_type="CAUSAL_LM", target_modules=["c_attn", "c_fc"])
        change(tmp_path / name, base_model_name_or_path="base")
    return tmp_path


def test_two_adapters_are_connected_verified_and_their_middle_is_an_adapter_again(folder, run):
    status, _, err = run("connect", "a", "b", "--data", "data.py:loaders", "--points", 5, "--out", "o")
    assert status in (0, 4), err
    path = "o/linear.path.safetensors"
    status, out, err = run("verify", path, "--checkpoint", "a", "--checkpoint", "b", "--data", "data.py:loaders")
    assert status == 0, out + err
    status, out, err = run("sample", path, "-t", 0.5, "--like", "a", "-o", "mid")
    assert status == 0, err
    x = torch.randint(20, (4, 6))
    a, b, mid = (from_folders(gpt2(), name) for name in ("a", "b", "mid"))
    with torch.no_grad():
        for own, other in zip(a.parameters(), b.parameters(), strict=True):
            own.copy_((own + other) / 2)
        torch.testing.assert_close(mid(x).logits, a(x).logits, rtol=1e-5, atol=1e-6)


def test_a_path_holds_the_tensors_of_the_adapter_alone(folder, run):
    status, _, err = run(
        "connect", "a", "b", "--data", "data.py:loaders", "--builder", "bezier", "--bezier.budget", "3steps",
        "--points", 5, "--out", "o",
    )  # fmt: skip
    assert status in (0, 4), err
    path = Path.load("o/bezier.path.safetensors")
    assert len(path.start) == 8
    assert all("lora_" in name for name in path.start)


def test_the_base_is_shared_by_all_modules_and_copies_and_is_no_weight(folder):
    make = model_factory("peft:a?base=base")
    first, second = make(), make()
    stored = [name for name, _ in first.named_buffers() if name not in weights_of(first)]
    assert any("wte" in name for name in stored)
    assert all("lora_" in name for name, _ in first.named_parameters())
    others = [dict(module.named_buffers()) for module in (second, copy.deepcopy(first))]
    for name, parameter in gpt2().named_parameters():
        if "wte" in name or "ln_" in name:
            own = dict(first.named_buffers())[f"base_model.model.{name}"]
            assert own.shape == parameter.shape
            assert all(other[f"base_model.model.{name}"].data_ptr() == own.data_ptr() for other in others)
    own, other = (next(module.parameters()).data_ptr() for module in (first, second))
    assert own != other


def test_an_equal_copy_in_other_factors_is_brought_back_by_weight_matching(folder, run):
    """End B is end A in other factors, (B·G⁻¹, G·A), in float64: after alignment both are the same to rounding."""
    base, x = gpt2().double(), torch.randint(20, (4, 6))
    made = model_factory("peft:a")().double()
    weights = fit(read("a"), made).weights
    mixed = {name: tensor.double() for name, tensor in weights.items()}
    for name in [name for name in mixed if "lora_B" in name]:
        g = torch.randn(3, 3, dtype=torch.float64) + 2 * torch.eye(3)
        mixed[name] = mixed[name] @ torch.linalg.inv(g)
        other = name.replace("lora_B", "lora_A")
        mixed[other] = g @ mixed[other]
    from safetensors.torch import save_file

    adapter = registry().adapter_of(made)
    for where, values in (("a", weights), ("b", mixed)):
        stored = adapter.stored(made, {name: tensor.double() for name, tensor in values.items()})
        save_file(dict(stored), folder / where / "adapter_model.safetensors")
    before = (folder / "base" / "model.safetensors").read_bytes()
    status, _, err = run(
        "connect", "a", "b", "--data", "data.py:loaders", "--align", "weight-matching", "--points", 5,
        "--dtype", "float64", "--out", "o",
    )  # fmt: skip
    assert status in (0, 4), err
    path = Path.load("o/linear.path.safetensors")
    assert path.alignment["deviation"] < 1e-10
    assert path.alignment["record"]["coverage"] == 1
    apart = sum(float((tensor - mixed[name]).norm()) for name, tensor in path(0).items())
    left = sum(float((path(1)[name] - tensor).norm()) for name, tensor in path(0).items())
    assert left < 1e-3 * apart
    with torch.no_grad():
        model, logits = from_folders(base, "b"), []
        for values in (mixed, path(1)):  # as it loads them, PEFT rounds weights to the base's type
            peft.set_peft_model_state_dict(model, dict(adapter.stored(made, values)))
            logits.append(model(x).logits)
        torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)
    assert (folder / "base" / "model.safetensors").read_bytes() == before


KINDS = {
    "GPT-2, LoRA": (gpt2, {"task_type": "CAUSAL_LM", "target_modules": ["c_attn", "c_fc"]}),
    "GPT-2, biases": (gpt2, {"task_type": "CAUSAL_LM", "bias": "all"}),
    "GPT-2, no task": (gpt2, {}),
    "Llama, rsLoRA": (llama, {"task_type": "CAUSAL_LM", "use_rslora": True, "target_modules": "all-linear"}),
    "Llama, ranks by layer": (llama, {"task_type": "CAUSAL_LM", "rank_pattern": {"q_proj": 2}}),
    "Llama, DoRA": (llama, {"task_type": "CAUSAL_LM", "use_dora": True}),
    "Llama, IA3": (llama, {"kind": "IA3Config", "task_type": "CAUSAL_LM"}),
    "BERT, head": (lambda: bert(2), {"task_type": "SEQ_CLS"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_is_that_of_peft_itself(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make, given = KINDS[kind]
    torch.manual_seed(0)
    base = make()
    base.save_pretrained("base")
    save(base, "a", **given)
    made = model_factory("peft:a?base=base")().double().eval()
    weights = fit(read("a"), made).weights
    assert weights.keys() == weights_of(made).keys()
    made.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    x = torch.randint(20, (4, 6))
    with torch.no_grad():
        torch.testing.assert_close(made(input_ids=x).logits, from_folders(base, "a")(input_ids=x).logits)


def test_a_head_of_other_classes_than_the_base_has_is_the_adapters(folder, run):
    torch.manual_seed(0)
    bert(2).save_pretrained("bert")
    for seed, name in enumerate("cd"):
        save(hf.BertForSequenceClassification.from_pretrained("bert", num_labels=5, ignore_mismatched_sizes=True),
             name, seed=seed, task_type="SEQ_CLS")  # fmt: skip
    given = ("--data", "data.py:classes", "--points", 5, "--out", "o", "--base", "bert")
    status, _, err = run("connect", "c", "d", *given)
    assert status in (0, 4), err
    start = Path.load("o/linear.path.safetensors").start
    assert {tuple(tensor.shape) for name, tensor in start.items() if "classifier" in name} == {(5, 8), (5,)}


def spoil_rank(folder):
    save(gpt2(), "b", r=2, task_type="CAUSAL_LM", target_modules=["c_attn", "c_fc"])


def spoil_scale(folder):
    change(folder / "b", lora_alpha=32)


def spoil_targets(folder):
    save(gpt2(), "b", task_type="CAUSAL_LM", target_modules=["c_attn"])


def spoil_kind(folder):
    change(folder / "a", peft_type="PREFIX_TUNING")


def spoil_start(folder):
    change(folder / "a", init_lora_weights="pissa")


def spoil_base(folder):
    for name in "ab":
        change(folder / name, base_model_name_or_path="somebody/model")


def spoil_shapes(folder):
    gpt2(n_embd=12).save_pretrained("base")


def spoil_architecture(folder):
    llama().save_pretrained("base")


def spoil_weights(folder):
    (folder / "a" / "adapter_model.safetensors").unlink()
    torch.save({}, folder / "a" / "adapter_model.bin")


def spoil_configuration(folder):
    (folder / "a" / "adapter_config.json").write_text("[]")


def spoil_base_weights(folder):
    from safetensors.torch import load_file, save_file

    file = folder / "base" / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "h.1.mlp" not in n}, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (spoil_rank, 3, "r 3 and 2"),
        (spoil_scale, 3, "lora_alpha 8 and 32"),
        (spoil_targets, 3, "target_modules"),
        (spoil_kind, 3, "PREFIX_TUNING"),
        (spoil_start, 3, "init_lora_weights is 'pissa'"),
        (spoil_base, 2, "say --base FOLDER"),
        (spoil_shapes, 3, "lora_A"),
        (spoil_architecture, 3, "adapter_config.json"),
        (spoil_weights, 3, "convert a/adapter_model.bin a/adapter_model.safetensors"),
        (spoil_configuration, 3, "peft_type"),
        (spoil_base_weights, 3, "lacks transformer.h.1.mlp"),
    ],
)
def test_what_does_not_belong_together_is_refused_in_one_line(folder, run, spoil, status, words):
    spoil(folder)
    found, _, err = run("connect", "a", "b", "--data", "data.py:loaders", "--out", "o")
    assert found == status, err
    assert words in err.splitlines()[-1]
    assert not (folder / "o").exists()


def test_a_base_is_for_adapters_alone(folder, run):
    status, _, err = run("connect", "base", "base", "--data", "data.py:loaders", "--base", "base")
    assert status == 2
    assert "--base is for adapters" in err


class TestContract(AdapterSuite):
    name = "adapter"
    shape = (3, 8, 8)

    @pytest.fixture(autouse=True)
    def _somewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        vit().save_pretrained("base")
        save(vit(), "adapter", target_modules="all-linear")
        type(self).adapter = registry().adapters["peft"].cls
        type(self).arguments = {"base": "base"}


OWN = """
import torch
from torch import nn
import peft

def base():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

CONFIG = peft.LoraConfig(r=2, target_modules=["0"], lora_alpha=4)

def top():
    return peft.get_peft_model(base(), CONFIG)

class Within(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = top()
    def forward(self, x):
        return self.net(x)

def injected():
    return peft.inject_adapter_in_model(CONFIG, base())
"""


@pytest.mark.parametrize("made", ["top", "Within", "injected"])
def test_adapters_in_a_persons_own_module_have_the_mean_of_products_or_it_is_said(tmp_path, monkeypatch, made):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    x, y = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32), np.arange(30) % 3
    np.savez("data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    task = ch.make_task(model=f"own.py:{made}", data="data.npz")
    weights = []
    for number in range(3):
        model = task.factory()
        torch.manual_seed(number)
        for name, parameter in model.named_parameters():
            if "lora" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        weights.append(weights_of(model))
        ch.save(model, f"{number}.safetensors")
    given = [f"{number}.safetensors" for number in range(3)]
    found = ch.average(given, task, points=3, refine=0, threshold=1e9, weights=[1, 2, 3])
    (left,) = (name for name in found.weights if "lora_B" in name)
    right = left.replace("lora_B", "lora_A")
    if made == "injected":
        assert f"{left}: seem to be factors of products" in found.verdict
        return
    shares = zip((1, 2, 3), weights, strict=True)
    whole = sum(share * each[left].double() @ each[right].double() for share, each in shares) / 6
    u, values, v = torch.linalg.svd(whole)
    cut = u[:, :2] * values[:2] @ v[:2]
    torch.testing.assert_close(found.weights[left].double() @ found.weights[right].double(), cut, rtol=1e-5, atol=1e-6)
    assert "averaged by their products" in found.verdict


def test_average_takes_the_mean_of_products_and_writes_an_adapter(folder, run):
    """Against PEFT's own models in float64: the mean of both B·A, cut to the rank by numpy's singular values."""
    words = ["--data", "data.py:loaders", "--threshold", "100", "--out", "mean", "--force"]
    status, out, err = run("average", "a", "b", *words)
    assert status == 0, err
    assert "averaged by their products" in out
    a, b, mean = (from_folders(gpt2(), name).state_dict() for name in ("a", "b", "mean"))
    lefts = [name for name in mean if "lora_B" in name]
    assert lefts
    for left in lefts:
        right = left.replace("lora_B", "lora_A")
        whole = (a[left] @ a[right] + b[left] @ b[right]) / 2
        u, values, v = torch.linalg.svd(whole)
        cut = u[:, :3] * values[:3] @ v[:3]
        torch.testing.assert_close(mean[left] @ mean[right], cut, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mean[left], (a[left] + b[left]) / 2, atol=1e-3)
