"""The forms in which folders of Transformers come: in shards, as links of a cache, beside a training, with pickles."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")

import transformers as hf
from transformers_pairs import loaders
from transformers_tiny import IMAGE, TEXT

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import fit, read
from connectivity_hooks.checkpoints.like import write_like
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks_transformers.adapter import TransformersAdapter


def bert(cls=hf.BertForSequenceClassification, **changes):
    torch.manual_seed(0)
    return cls(hf.BertConfig(**{**TEXT, **changes}))


def fitted(folder, arguments=None):
    """Return the weights that we read of a folder, for the model that it names itself."""
    model = TransformersAdapter().create(str(folder), arguments or {})
    return fit(read(folder), model)


def assert_same(found, model):
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture
def data(tmp_path, monkeypatch):
    import transformers_pairs

    monkeypatch.chdir(tmp_path)
    return f"{transformers_pairs.__file__}:loaders?name=BERT, classification"


def cached(folder, cache):
    """Lay out a folder as the hub's cache does: files under blobs, and links to them in a snapshot."""
    snapshot, blobs = cache / "models--me--it" / "snapshots" / "0123", cache / "models--me--it" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, blobs / f"digest{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/digest{number}")
    return snapshot


def test_shards_are_read_and_written_back_as_one_file(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path / "a", max_shard_size="20KB")
    assert len(list((tmp_path / "a").glob("*.safetensors"))) > 2
    found = fitted(tmp_path / "a")
    assert_same(found.weights, model)
    write_like(tmp_path / "b", found.weights, read(tmp_path / "a"), model, {"format": "pt"})
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == ["config.json", "model.safetensors"]
    assert_same(hf.BertForSequenceClassification.from_pretrained(tmp_path / "b").state_dict(), model)


def test_bfloat16_stays_so_and_the_configuration_says_so(tmp_path, run, data):
    for seed, end in enumerate("ab"):
        torch.manual_seed(seed)
        hf.BertForSequenceClassification(hf.BertConfig(**TEXT)).to(torch.bfloat16).save_pretrained(end)
    status, _, err = run("connect", "a", "b", "--data", data, "--points", 3, "--out", "o")
    assert status in (0, 4), err
    path = "o/linear.path.safetensors"
    assert run("sample", path, "-t", 1, "--like", "b", "-o", "end")[0] == 0
    assert run("sample", path, "-t", 0.5, "--like", "a", "-o", "wide", "--dtype", "float32")[0] == 0
    read_back = hf.BertForSequenceClassification.from_pretrained
    end, b, wide = (read_back(name, dtype="auto") for name in ("end", "b", "wide"))
    assert (end.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    assert_same(end.state_dict(), b)


def test_weights_of_several_types_are_not_rounded_to_the_one_that_the_configuration_names(tmp_path, run, data):
    """Norms are float32 among bfloat16, and the configuration says bfloat16: the library would round them to it."""
    for seed, end in enumerate("ab"):
        torch.manual_seed(seed)
        model = hf.BertForSequenceClassification(hf.BertConfig(**TEXT)).to(torch.bfloat16)
        model.save_pretrained(end)
        file = tmp_path / end / "model.safetensors"
        stored = {name: w.float() + 1e-5 if "LayerNorm" in name else w for name, w in load_file(file).items()}
        save_file(stored, file, {"format": "pt"})
    status, _, err = run("connect", "a", "b", "--data", data, "--points", 3, "--out", "o")
    assert status in (0, 4), err
    assert run("sample", "o/linear.path.safetensors", "-t", 0, "--like", "a", "-o", "end")[0] == 0
    end = hf.BertForSequenceClassification.from_pretrained("end", dtype="auto").state_dict()
    stored = load_file(tmp_path / "a" / "model.safetensors")
    for name, w in stored.items():
        assert torch.equal(end[name].double(), w.double()), name


@pytest.mark.parametrize("shard", ["20KB", "1GB"])
def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(tmp_path, shard):
    model = bert()
    model.save_pretrained(tmp_path / "a", max_shard_size=shard)
    snapshot = cached(tmp_path / "a", tmp_path / "cache")
    found = fitted(snapshot)
    assert_same(found.weights, model)
    write_like(tmp_path / "b", found.weights, read(snapshot), model, {"format": "pt"})
    assert not (tmp_path / "b" / "config.json").is_symlink()
    assert_same(hf.BertForSequenceClassification.from_pretrained(tmp_path / "b").state_dict(), model)


@pytest.mark.parametrize("target", ["../../../outside", "../../blobs/link", "/outside", "../../blobs/../../outside"])
def test_a_shard_that_leads_out_of_the_cache_is_not_opened(tmp_path, target):
    bert().save_pretrained(tmp_path / "a", max_shard_size="20KB")
    snapshot = cached(tmp_path / "a", tmp_path / "cache")
    shard = sorted(snapshot.glob("*.safetensors"))[0]
    outside = tmp_path / "cache" / "outside"
    shutil.copy(shard, outside)
    (snapshot.parent.parent / "blobs" / "link").symlink_to(outside)
    shard.unlink()
    shard.symlink_to(outside if target.startswith("/") else target)
    with pytest.raises(InputError, match=f"{shard.name} is a symbolic link .*cp -rL"):
        read(snapshot)


def test_a_link_to_somebody_elses_file_is_not_copied_beside_the_weights(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path / "a")
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "a" / "vocab.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "a" / "tokenizer.json").write_text("{}")
    write_like(tmp_path / "b", dict(model.state_dict()), read(tmp_path / "a"), model, {})
    assert sorted(os.listdir(tmp_path / "b")) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_checkpoint_of_the_trainer_is_connected_and_its_training_is_not_copied(tmp_path, run, data):
    pytest.importorskip("accelerate")
    train, _ = loaders("BERT, classification")
    samples = [{key: value[i] for key, value in batch.items()} for batch in train for i in range(4)]
    for seed, end in enumerate(("one", "two")):
        torch.manual_seed(seed)
        arguments = hf.TrainingArguments(
            end, max_steps=2, save_steps=2, per_device_train_batch_size=4, report_to=[], disable_tqdm=True, use_cpu=True
        )
        network = hf.BertForSequenceClassification(hf.BertConfig(**TEXT))
        hf.Trainer(network, arguments, train_dataset=samples).train()
    ends = ("one/checkpoint-2", "two/checkpoint-2")
    assert {"optimizer.pt", "trainer_state.json"} <= set(os.listdir(ends[0]))
    status, _, err = run("connect", *ends, "--data", data, "--points", 3, "--out", "o")
    assert status in (0, 4), err
    assert run("sample", "o/linear.path.safetensors", "-t", 0.5, "--like", ends[0], "-o", "mid")[0] == 0
    assert sorted(os.listdir("mid")) == ["config.json", "model.safetensors"]
    hf.BertForSequenceClassification.from_pretrained("mid")


def test_safetensors_are_taken_and_the_pickle_beside_them_is_named(tmp_path, run, data):
    for end in "ab":
        bert().save_pretrained(end)
        (tmp_path / end / "pytorch_model.bin").write_bytes(b"\x80\x02evil")
    status, out, err = run("connect", "a", "b", "--data", data, "--points", 3, "--out", "o")
    assert status in (0, 4), err
    assert "model.safetensors is read, and not the pickle beside it, pytorch_model.bin" in out + err


def test_pickles_alone_are_refused_with_the_line_that_converts_them(tmp_path, run, data):
    model = bert()
    model.save_pretrained("a")
    (tmp_path / "a" / "model.safetensors").unlink()
    torch.save(model.state_dict(), "a/pytorch_model.bin")
    status, _, err = run("connect", "a", "a", "--data", data)
    assert status == 3
    assert err.strip().count("\n") == 0
    words = err.strip().partition("with connectivity-hooks ")[2].split()
    assert run(*words)[0] == 0
    assert_same(fitted(tmp_path / "a").weights, model)


def test_a_model_without_a_head_is_captured_and_checked(tmp_path, run, data):
    bert(hf.BertModel).save_pretrained("a")
    status, out, err = run("check", "a", "--data", data, "--condition", "feature-rank", "--output", "pooler_output")
    assert status in (0, 4), out + err
    assert "layer" in out


def test_weights_without_the_prefix_of_the_head_are_read_and_written_back_as_they_were(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path / "a")
    stored = {name.removeprefix("bert."): tensor for name, tensor in model.state_dict().items()}
    stored = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in stored.items()}
    ch.checkpoints.write_tensors(tmp_path / "a" / "model.safetensors", stored, {"format": "pt"})
    found = fitted(tmp_path / "a")
    assert_same(found.weights, model)
    write_like(tmp_path / "b", found.weights, read(tmp_path / "a"), model, {"format": "pt"})
    again = read(tmp_path / "b")
    assert again.outline.keys() == stored.keys()
    assert_same(fitted(tmp_path / "b").weights, model)


def test_another_head_than_was_saved_lacks_its_weights_and_says_which(tmp_path, run, data):
    bert(hf.BertForMaskedLM).save_pretrained("a")
    status, _, err = run("connect", "a", "a", "--model", "transformers:a?task=sequence-classification", "--data", data)
    assert status == 3
    assert "classifier.weight" in err
    assert err.strip().count("\n") == 0


def test_a_head_that_the_configuration_does_not_name_is_asked_for(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="task="):
        TransformersAdapter().create(str(tmp_path / "a"), {})
    assert_same(fitted(tmp_path / "a", {"task": "sequence-classification"}).weights, model)


def test_arguments_change_the_configuration(tmp_path):
    hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)).save_pretrained(tmp_path)
    model = TransformersAdapter().create(str(tmp_path), {"hidden_act": "relu"})
    assert any(type(module).__name__.startswith("ReLU") for module in model.modules())


@pytest.mark.parametrize("name", ["to_dict", "__class__", "forward", "hidden_akt", "architectures"])
def test_arguments_are_entries_of_the_configuration_alone(tmp_path, name):
    hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no entry of its configuration"):
        TransformersAdapter().create(str(tmp_path), {name: 3})


@pytest.mark.parametrize("name", ["num_labels", "hidden_act", "problem_type"])
def test_entries_that_a_configuration_makes_of_others_are_taken(tmp_path, name):
    hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)).save_pretrained(tmp_path)
    value = {"num_labels": 7, "hidden_act": "relu", "problem_type": "regression"}[name]
    model = TransformersAdapter().create(str(tmp_path), {name: value})
    assert getattr(model.config, name) == value
