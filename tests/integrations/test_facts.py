"""What makes a model's function beside its weights: recorded in a path, compared by whoever is given a model again."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open

from connectivity_hooks.facts import facts_of, folder_facts, unlike
from connectivity_hooks.paths import Path
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks.models import model_factory

hf = pytest.importorskip("transformers")

LOADERS = """
import torch

def classes():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(2, 20, (16, 6), generator=g)
    return [{"input_ids": x, "attention_mask": torch.ones_like(x), "labels": torch.arange(16) % 3}]

def tokens():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(20, (16, 6), generator=g)
    return [{"input_ids": x, "labels": torch.cat([x[:, 1:], torch.full((16, 1), -100)], 1)}]
"""
SMALL = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
PATH = "o/linear.path.safetensors"
DATA = ("--data", "data.py:classes")


def bert():
    config = hf.BertConfig(**SMALL, max_position_embeddings=8, num_labels=3, initializer_range=0.5)
    return hf.BertForSequenceClassification(config)


def like(source, where, file="config.json", **entries):
    """Copy a folder with other entries in its configuration."""
    shutil.copytree(source, where)
    config = where / file
    config.write_text(json.dumps({**json.loads(config.read_text()), **entries}))


def logits(where, x):
    with torch.no_grad():
        return hf.BertForSequenceClassification.from_pretrained(where).eval()(x).logits


@pytest.fixture
def folder(tmp_path, monkeypatch, run):
    """Return a folder with two networks, one of them with more heads too, and a path between the two."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(LOADERS)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        bert().save_pretrained(name)
    like(tmp_path / "a", tmp_path / "four", num_attention_heads=4)
    return tmp_path


@pytest.fixture
def path(folder, run):
    status, _, err = run("connect", "a", "b", *DATA, "--points", 3, "--out", "o")
    assert status in (0, 4), err
    return folder / PATH


def test_the_same_weights_are_another_function_under_another_configuration(folder):
    """What all of this is about."""
    x = torch.randint(20, (4, 6))
    assert float((logits("a", x) - logits("four", x)).abs().max()) > 1e-3


def test_verify_refutes_a_path_under_an_edited_configuration(folder, path, run):
    ends = ("--checkpoint", "a", "--checkpoint", "b")
    assert run("verify", path, *ends, *DATA)[0] == 0
    config = folder / "a" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_attention_heads": 4}))
    status, out, _ = run("verify", path, "--model", "transformers:a", *DATA, "--json")
    found = json.loads(out)
    assert status == 4
    assert [finding["kind"] for finding in found["findings"]] == ["model"]
    assert "num_attention_heads is 2 in the file and 4 here" in found["findings"][0]["reason"]


def test_entries_that_make_no_other_function_refute_nothing(folder, path, run):
    incidental = {"hidden_dropout_prob": 0.3, "use_cache": False, "initializer_range": 0.1, "_name_or_path": "x"}
    like(folder / "a", folder / "c", **incidental, dtype="bfloat16", transformers_version="4.47.0")
    assert run("verify", path, "--model", "transformers:c", *DATA)[0] == 0


def test_a_path_that_says_nothing_of_its_model_is_not_refuted_and_that_is_said(folder, path, run):
    with safe_open(path, "pt") as file:
        assert "num_attention_heads" in json.loads(file.metadata()["facts"])
    old = Path.load(path)
    Path(old.start, old.edits, end_points=old.end_points, builder=old.builder).save(path)
    with safe_open(path, "pt") as file:
        assert "facts" not in file.metadata()
    status, out, _ = run("verify", path, "--model", "transformers:four", *DATA)
    assert status == 0
    assert "the file does not say what makes its function beside its weights" in out
    status, _, err = run("sample", path, "-t", 0, "--like", "four", "-o", "s")
    assert (status, "is not known" in err) == (0, True)


def test_a_model_that_no_library_knows_is_not_taken_for_the_paths(folder, path, run):
    (folder / "net.py").write_text(
        "import torch, transformers as hf\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        made = hf.BertForSequenceClassification(hf.BertConfig.from_pretrained('four'))\n"
        "        self.bert, self.dropout, self.classifier = made.bert, made.dropout, made.classifier\n"
        "    def forward(self, input_ids, attention_mask=None):\n"
        "        return self.classifier(self.bert(input_ids, attention_mask)[1])\n"
    )
    status, out, err = run("verify", path, "--model", "net.py:Net", *DATA)
    assert status == 0, err
    assert out.startswith("Verified, but for what the file says of the model")


def test_a_folder_of_another_function_is_not_written(folder, path, run):
    status, _, err = run("sample", path, "-t", 0.5, "--like", "four", "-o", "s")
    assert (status, "num_attention_heads is 4 in four and 2 in theirs" in err) == (3, True)
    assert not (folder / "s").exists()
    assert run("sample", path, "-t", 0.5, "--like", "four", "-o", "s.safetensors")[0] == 0  # has no configuration


def test_what_model_changed_is_in_the_path(folder, run):
    model = "transformers:a?num_attention_heads=4"
    assert run("connect", "a", "b", *DATA, "--model", model, "--points", 3, "--out", "o")[0] in (0, 4)
    assert run("sample", PATH, "-t", 0, "--like", "a", "-o", "s")[0] == 3
    assert run("sample", PATH, "-t", 0, "--like", "four", "-o", "s")[0] == 0
    x = torch.randint(20, (4, 6))
    torch.testing.assert_close(logits("s", x), logits("four", x), rtol=0, atol=0)


def test_folders_that_contradict_the_model_are_named(folder, run):
    status, out, err = run(
        "connect", "a", "four", *DATA, "--model", "transformers:a", "--points", 3, "--out", "o", "--json"
    )
    assert status in (0, 4), err
    notes = [note for note in json.loads(out)["task"]["notes"] if "another model" in note]
    assert len(notes) == 1
    assert notes[0].startswith("four: ")
    assert "num_attention_heads is 4 there and 2 in --model" in notes[0]


def test_a_mean_of_another_function_than_its_folder_is_not_written(folder, run):
    model = ("--model", "transformers:a?num_attention_heads=4")
    given = ("average", "a", "b", *DATA, "--threshold", 99, "--force")
    status, _, err = run(*given, *model, "--out", "mean")
    assert (status, "num_attention_heads" in err) == (3, True)
    assert run(*given, "--out", "mean")[0] == 0


def test_figures_of_a_path_under_another_model_say_so(folder, path, run):
    _, out, err = run("ensemble", path, *DATA, "--model", "transformers:four")
    assert "the path is of another model: num_attention_heads is 2 there and 4 here" in out + err


def test_an_interrupted_run_does_not_go_on_with_another_configuration(folder, path, run):
    before = path.read_bytes()
    for end in "ab":
        config = folder / end / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "layer_norm_eps": 0.5}))
    assert run("connect", "a", "b", *DATA, "--points", 3, "--out", "o")[0] in (0, 4)
    assert path.read_bytes() != before
    assert Path.load(path).facts["layer_norm_eps"] == "0.5"


def test_a_route_through_a_volume_has_the_models_facts(folder, run):
    budget = ("--simplex.budget", "2steps", "--simplex.connectors", 1)
    status, _, err = run("simplex", "a", "b", *DATA, *budget, "--draws", 1, "--out", "v")
    assert status in (0, 4), err
    (file,) = (folder / "v").glob("*.simplex.safetensors")
    assert run("simplex-route", file, "-o", "r.path.safetensors")[0] == 0
    found = Path.load("r.path.safetensors").facts
    assert found["num_attention_heads"] == "2"
    assert run("verify", "r.path.safetensors", "--model", "transformers:four", *DATA)[0] == 4


def test_what_a_pass_leaves_in_the_configuration_is_no_fact(folder):
    """Transformers writes problem_type at the first pass with labels; a fresh model is asked."""
    model = model_factory("transformers:a")()
    assert facts_of(model) == folder_facts(folder / "a")


def test_facts_of_different_versions_are_compared_where_both_have_them():
    old = {"heads": "2", "rope_theta": "1e4", "library": "x 1"}
    assert unlike(old, {"heads": "2", "rope": "1e4", "library": "x 2"}) == {}
    assert unlike(old, {"heads": "4", "rope": "1e4", "library": "x 2"}) == {"heads": ("2", "4")}
    assert unlike(old, {"heads": "2", "library": "x 1"}) == {"rope_theta": ("1e4", None)}
    assert unlike(old, {**old, "new": "null"}) == {}


@pytest.fixture
def adapters(tmp_path, monkeypatch, run):
    """Return a folder with two bases, two adapters on the first, and a path between them."""
    peft = pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(LOADERS)
    for seed, name in enumerate(("base", "other")):
        torch.manual_seed(seed)
        config = hf.GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        hf.GPT2LMHeadModel(config).save_pretrained(name)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        base = hf.GPT2LMHeadModel.from_pretrained("base")
        model = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"]))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(name)
    status, _, err = run("connect", "a", "b", "--base", "base", "--data", "data.py:tokens", "--out", "o")
    assert status in (0, 4), err
    return tmp_path


def test_a_path_of_adapters_is_of_its_base_and_of_no_other(adapters, run):
    """Neither another folder nor other weights in the same one; the same weights in another type are the same."""
    ends = ("--checkpoint", "a", "--checkpoint", "b", "--data", "data.py:tokens")
    assert run("verify", PATH, *ends, "--base", "base")[0] == 0
    assert run("verify", PATH, *ends, "--base", "base", "--dtype", "float64")[0] == 0
    hf.GPT2LMHeadModel.from_pretrained("base").double().save_pretrained("wide")
    status, out, _ = run("verify", PATH, *ends, "--base", "wide")
    assert status == 0, out
    status, out, _ = run("verify", PATH, *ends, "--base", "other")
    assert (status, "base.weights" in out) == (4, True)
    shutil.copy("other/model.safetensors", "base/model.safetensors")
    status, out, _ = run("verify", PATH, *ends, "--base", "base")
    assert (status, "base.weights" in out) == (4, True)
    assert run("sample", PATH, "-t", 0, "--like", "a", "--base", "base", "-o", "s")[0] == 3


def test_an_adapter_of_another_scale_is_another_function(adapters, run):
    like(adapters / "a", adapters / "loud", "adapter_config.json", lora_alpha=40)
    status, _, err = run("sample", PATH, "-t", 0, "--like", "loud", "--base", "base", "-o", "s")
    assert (status, "lora_alpha is 40 in loud and 4 in theirs" in err) == (3, True)
    given = ("--model", "peft:loud", "--base", "base", "--data", "data.py:tokens")
    status, out, _ = run("verify", PATH, *given)
    assert (status, "lora_alpha is 4 in the file and 40 here" in out) == (4, True)
    given = ("--model", "peft:a", "--base", "base", "--data", "data.py:tokens", "--points", 3)
    status, _, err = run("connect", "a", "loud", *given, "--out", "o2")
    assert "loud: is of another model, and is read as that of --model: lora_alpha is 40 there and 4 in --model" in err


def test_facts_of_an_adapter_are_those_of_its_base_too(adapters):
    made = model_factory("peft:a?base=base")()
    found = registry().adapter_of(made).facts(made)
    assert found["lora_alpha"] == "4"
    assert found["base.n_head"] == "2"
    assert found["base.weights"].startswith("sha256 ")


def test_a_folder_whose_model_needs_values_to_be_made_has_facts(folder, monkeypatch):
    adapter = registry().adapters["transformers"].cls
    create = adapter.create

    def with_values(self, name, arguments):
        assert float(torch.linspace(0, 1, 3)[1]) == 0.5  # no number on the meta device
        return create(self, name, arguments)

    monkeypatch.setattr(adapter, "create", with_values)
    assert folder_facts(folder / "four")["num_attention_heads"] == "4"
