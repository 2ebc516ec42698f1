"""Folders whose config.json is none, is hostile, or asks for what no model is: one line, status 3, nothing written."""

import contextlib
import json
import os
import resource
import socket
import time

import pytest

pytest.importorskip("transformers")

import transformers as hf
import transformers_pairs
from transformers_tiny import DECODER, IMAGE, TEXT

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks_transformers.adapter import TransformersAdapter


@pytest.fixture
def refused(tmp_path, monkeypatch, run):
    """Return a function that connects a and b and gives the one line with which that is refused."""
    monkeypatch.chdir(tmp_path)

    def connect(name="BERT, classification", *more):
        before = sorted(os.listdir())
        data = f"{transformers_pairs.__file__}:loaders?name={name}"
        status, out, err = run("connect", "a", "b", "--data", data, "--out", "o", *more)
        assert status == 3, out + err
        assert out == ""
        assert err.startswith("error: ")
        assert err.strip().count("\n") == 0
        assert sorted(os.listdir()) == before
        return err

    return connect


@pytest.fixture
def ends(tmp_path):
    """Two folders of BERT, and a function that changes both configurations."""
    for end in "ab":
        hf.BertForSequenceClassification(hf.BertConfig(**TEXT)).save_pretrained(tmp_path / end)

    def change(**entries):
        for end in "ab":
            file = tmp_path / end / "config.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))

    return change


def test_a_folder_without_a_configuration(ends, tmp_path, refused):
    for end in "ab":
        (tmp_path / end / "config.json").unlink()
    assert "a: has no config.json that names a model; say --model" in refused()


@pytest.mark.parametrize("text", ["{", "", "\x00", "[" * 10_000, "[]", "3", '{"hidden_size": 3}'])
def test_a_configuration_that_is_none(ends, tmp_path, refused, text):
    for end in "ab":
        (tmp_path / end / "config.json").write_text(text)
    assert "a/config.json: " in refused()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_type": "no-such"}, "model_type 'no-such' is none of Transformers"),
        ({"model_type": ["bert"]}, "model_type ['bert'] is none"),
        ({"architectures": ["BertForNothing"]}, "architectures names 'BertForNothing'"),
        ({"architectures": []}, "architectures names None"),
        ({"architectures": ["BertConfig"]}, "architectures names 'BertConfig'"),
        ({"architectures": ["PreTrainedModel"]}, "architectures names 'PreTrainedModel'"),
        ({"architectures": ["My"], "model_type": "my", "auto_map": {"AutoModel": "my.My"}}, "(auto_map), which is not"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"hidden_act": "no-such"}, "config.json: "),
        ({"num_attention_heads": 5}, "config.json: "),
        ({"num_attention_heads": 0}, "config.json: "),
        ({"hidden_size": "wide"}, "config.json: "),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected at most 10000"),
        ({"num_hidden_layers": 9999}, "more than"),
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
        ({"hidden_size": 9 * 10**8}, "does not fit"),
        ({"vocab_size": 10**400}, "vocab_size is of more than 18 digits"),
        ({"num_labels": 10**9}, "num_labels is 1000000000"),
    ],
)
def test_a_configuration_that_makes_no_model_of_the_checkpoint(ends, refused, entries, said):
    ends(**entries)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert said in refused()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    assert time.monotonic() - started < 60


def test_a_depth_of_which_a_configuration_makes_a_list(tmp_path, refused):
    for end in "ab":
        hf.Qwen2ForCausalLM(hf.Qwen2Config(**{k: v for k, v in DECODER.items() if k != "head_dim"})).save_pretrained(
            tmp_path / end
        )
        file = tmp_path / end / "config.json"
        config = {**json.loads(file.read_text()), "num_hidden_layers": 10**8}
        del config["layer_types"]
        file.write_text(json.dumps(config))
    assert "num_hidden_layers is 100000000" in refused("Qwen2")


def test_vocabularies_of_two_sizes_are_named(tmp_path, refused):
    for end, words in (("a", 30), ("b", 31)):
        hf.BertForSequenceClassification(hf.BertConfig(**{**TEXT, "vocab_size": words})).save_pretrained(tmp_path / end)
    assert "vocab_size 30 and 31" in refused()
    assert "word_embeddings.weight" in refused("BERT, classification", "--model", "transformers:a")


def test_an_argument_that_the_configuration_lacks_has_near_matches(tmp_path):
    hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"hidden_sizes is no entry of its configuration; .*hidden_size"):
        TransformersAdapter().create(str(tmp_path), {"hidden_sizes": 3})


def test_nothing_is_fetched_whatever_a_configuration_asks_for(tmp_path, monkeypatch):
    """A backbone with weights of its own, and a kernel by its name on the hub."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given) or [])
    config = hf.BertConfig(**TEXT).to_dict() | {
        "architectures": ["BertForSequenceClassification"],
        "attn_implementation": "somebody/kernel",
        "_attn_implementation": "somebody/kernel",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    TransformersAdapter().create(str(tmp_path), {})
    backbone = {
        "architectures": ["UperNetForSemanticSegmentation"],
        "model_type": "upernet",
        "use_pretrained_backbone": True,
        "use_timm_backbone": True,
        "backbone": "resnet18",
        "backbone_config": None,
    }
    (tmp_path / "config.json").write_text(json.dumps(backbone))
    with contextlib.suppress(InputError):
        TransformersAdapter().create(str(tmp_path), {})
    assert not asked
