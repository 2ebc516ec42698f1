"""Folders that save_pretrained wrote: connected, verified, and written back as such folders."""

import json

import pytest
import torch

pytest.importorskip("transformers")

import transformers as hf
from safetensors.torch import load_file, save_file

SIZE = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
LOADERS = """
import torch

def loaders():
    g = torch.Generator().manual_seed(0)
    def batch():
        return {"pixel_values": torch.randn(16, 3, 8, 8, generator=g), "labels": torch.randint(5, (16,), generator=g)}
    return [batch(), batch()], [batch()]
"""


def vit(**changes):
    return hf.ViTForImageClassification(
        hf.ViTConfig(**{**SIZE, "image_size": 8, "patch_size": 4, "num_labels": 5} | changes)
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(LOADERS)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        vit().save_pretrained(name)
    return tmp_path


def test_two_folders_are_connected_verified_and_their_middle_is_a_folder_again(folder, run):
    """ViT's stored names are not its module's (transformers 5); no model is named anywhere."""
    status, _, err = run("connect", "a", "b", "--data", "data.py:loaders", "--points", 5, "--out", "o")
    assert status in (0, 4), err
    path = "o/linear.path.safetensors"
    status, out, err = run("verify", path, "--checkpoint", "a", "--checkpoint", "b", "--data", "data.py:loaders")
    assert status == 0, out + err
    status, out, err = run("sample", path, "-t", 0.5, "--like", "a", "-o", "mid")
    assert status == 0, err
    a, b, mid = (hf.ViTForImageClassification.from_pretrained(name).state_dict() for name in ("a", "b", "mid"))
    for name, weight in mid.items():
        torch.testing.assert_close(weight, ((a[name].double() + b[name].double()) / 2).float(), rtol=1e-6, atol=1e-7)


def test_configurations_of_two_networks_are_told_apart(folder, run):
    vit(hidden_act="relu").save_pretrained("b")
    status, _, err = run("connect", "a", "b", "--data", "data.py:loaders")
    assert status == 3
    assert "hidden_act 'gelu' and 'relu'" in err


@pytest.mark.parametrize("changes", [{"architectures": ["OsModel"]}, {"architectures": ["os"]}, {"architectures": 3}])
def test_code_that_is_not_the_librarys_is_never_run(folder, changes, run):
    config = json.loads((folder / "a" / "config.json").read_text())
    config |= {**changes, "auto_map": {"AutoModel": "evil.Evil"}}
    (folder / "a" / "config.json").write_text(json.dumps(config))
    (folder / "a" / "evil.py").write_text("raise SystemExit('run')")
    status, _, err = run("connect", "a", "b", "--data", "data.py:loaders")
    assert status == 3
    assert "is not run" in err


TEXTS = """
import torch

def loaders():
    g = torch.Generator().manual_seed(0)
    def batch():
        ids, labels = (torch.randint(3, 30, (8, length), generator=g) for length in (6, 5))
        return {"input_ids": ids, "labels": labels}
    return [batch(), batch()], [batch()]
"""


def marian():
    sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in SIDES.items()}
    tokens = {"vocab_size": 30, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    return hf.MarianMTModel(hf.MarianConfig(**tokens, **sides, d_model=12, max_position_embeddings=8))


SIDES = {"layers": 1, "attention_heads": 2, "ffn_dim": 20}


def test_constants_that_the_library_stores_nowhere_are_made_anew(folder, run):
    """Marian's sinusoids are in no file of its folders; they are the same in every model, and so at every t."""
    (folder / "texts.py").write_text(TEXTS)
    for seed, name in enumerate("cd"):
        torch.manual_seed(seed)
        marian().save_pretrained(name)
    stored = load_file("c/model.safetensors").keys()
    assert not any("embed_positions" in name for name in stored)
    status, _, err = run("connect", "c", "d", "--data", "texts.py:loaders", "--points", 3, "--out", "o")
    assert status in (0, 4), err
    assert "which makes it anew: model.encoder.embed_positions.weight" in err
    path = "o/linear.path.safetensors"
    status, out, err = run("verify", path, "--checkpoint", "c", "--checkpoint", "d", "--data", "texts.py:loaders")
    assert status == 0, out + err
    status, _, err = run("sample", path, "-t", 0.5, "--like", "c", "-o", "mid")
    assert status == 0, err
    assert load_file("mid/model.safetensors").keys() == stored
    c, d, mid = (hf.MarianMTModel.from_pretrained(name).state_dict() for name in ("c", "d", "mid"))
    for name, weight in mid.items():
        torch.testing.assert_close(weight, ((c[name].double() + d[name].double()) / 2).float(), rtol=1e-6, atol=1e-7)


def test_a_decoder_that_begins_from_labels_is_aligned_and_what_was_put_in_order_is_stored(folder, run):
    """Labels are moved by one position in place; the sinusoids of an aligned model are in another order of neurons."""
    (folder / "texts.py").write_text(TEXTS)
    for seed, name in enumerate("cd"):
        torch.manual_seed(seed)
        marian().save_pretrained(name)
    options = ["--align", "weight-matching", "--points", 2, "--refine", 0, "--out", "o"]
    status, out, err = run("connect", "c", "d", "--data", "texts.py:loaders", *options)
    assert status in (0, 4), err
    assert "an equal copy aligned to A by weight-matching" in out
    status, _, err = run("sample", "o/linear.path.safetensors", "-t", 1, "--like", "c", "-o", "end")
    assert status == 0, err
    aligned, d = (hf.MarianMTModel.from_pretrained(name).eval() for name in ("end", "d"))
    constant = "model.encoder.embed_positions.weight"
    assert not torch.equal(aligned.state_dict()[constant], d.state_dict()[constant])
    batch = {"input_ids": torch.arange(3, 15).view(2, 6), "labels": torch.arange(5, 15).view(2, 5)}
    with torch.no_grad():
        torch.testing.assert_close(aligned(**batch).logits, d(**batch).logits, rtol=1e-4, atol=1e-5)


def test_weights_that_a_file_lacks_are_never_made_anew(folder, run):
    (folder / "texts.py").write_text(TEXTS)
    for name in "cd":
        marian().save_pretrained(name)
    weights = load_file("c/model.safetensors")
    save_file({key: one for key, one in weights.items() if "fc1" not in key}, "c/model.safetensors", {"format": "pt"})
    status, _, err = run("connect", "c", "d", "--data", "texts.py:loaders")
    assert status == 3
    assert "missing" in err
    assert "fc1" in err
