"""Symmetries of Transformers' architectures: all that is derived holds, and moved copies are brought back."""

import functools
import importlib.util
import pathlib
from dataclasses import replace

import pytest
import torch
from symmetry_trials import by_weight, derived, larger_that_hold, titles

from connectivity_hooks.connecting.alignment import aligned, function_change
from connectivity_hooks.connecting.methods import make_aligner
from connectivity_hooks.model import Forward, in_double, weights_of
from connectivity_hooks.progress import SILENT
from connectivity_hooks.structure import transformed
from connectivity_hooks.structure.symmetries.drawing import random_element, random_weights
from connectivity_hooks.structure.symmetries.groups import GL, SCALED, O, S
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights

TINY = pathlib.Path(__file__).parents[2] / "benchmarks" / "transformers_tiny.py"
pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(not TINY.exists(), reason="needs the benchmarks of the repository")


def tiny():
    spec = importlib.util.spec_from_file_location("transformers_tiny", TINY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NETWORKS


NETWORKS = tiny() if TINY.exists() else {}


@functools.cache
def tried(name):
    """Return a network in float64 and its symmetries, all of which hold."""
    network = NETWORKS[name]
    return derived(network.make, network.inputs, Forward(network.pick))


# The stream's group, by the table that begins it: a γ on the stream (norm after the sum, tied outputs, a scale of each
# branch) leaves permutations, and signs where there is no mean to take away.
STREAMS = {
    "BERT, classification": ("bert.embeddings.word_embeddings.weight", 1, "S"),
    "DistilBERT": ("distilbert.embeddings.word_embeddings.weight", 1, "S"),
    "ELECTRA": ("electra.embeddings.word_embeddings.weight", 1, "O₁"),
    "DeBERTa-v2": ("deberta.encoder.rel_embeddings.weight", 1, "GL"),
    "ModernBERT": ("decoder.weight", 1, "S"),
    "GPT-2": ("transformer.wpe.weight", 1, "S"),
    "Llama": ("model.embed_tokens.weight", 1, "O"),
    "Qwen3": ("model.embed_tokens.weight", 1, "O"),
    "Gemma 3": ("lm_head.weight", 1, "S±"),
    "T5": ("lm_head.weight", 1, "S±"),
    "Whisper": ("model.encoder.conv2.weight", 0, "S"),
    "ViT": ("vit.embeddings.patch_embeddings.projection.weight", 0, "O₁"),
    "CLIP": ("text_model.embeddings.token_embedding.weight", 1, "O₁"),
    "SegFormer": ("segformer.stages.0.patch_embeddings.proj.weight", 0, "S"),
    "ConvNeXt": ("convnext.embeddings.patch_embeddings.weight", 0, "S"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_derived_holds_in_float64_and_nothing_larger_does_on_the_stream(name):
    network, (weight, axis, group) = NETWORKS[name], STREAMS[name]
    model, symmetries = tried(name)
    assert symmetries.coverage >= 0.99
    (stream,) = by_weight(symmetries, weight, axis)
    assert stream.title == group
    assert not larger_that_hold(model, symmetries, stream, network.inputs, Forward(network.pick))


@pytest.mark.parametrize(
    ("name", "q", "v", "o"),
    [
        ("BERT, classification", ["S", "O × 3"], ["S", "GL × 3"], "bert.encoder.layer.0.attention.self.{}.weight"),
        ("Llama", ["S", "S × 2"], ["S", "GL × 2"], "model.layers.0.self_attn.{}_proj.weight"),
        ("T5", ["S", "O × 3"], ["S", "GL × 3"], "decoder.block.0.layer.1.EncDecAttention.{}.weight"),
    ],
)
def test_heads_are_exchanged_and_what_is_inside_them_turns(name, q, v, o):
    _, symmetries = tried(name)
    names = ("query", "value") if "BERT" in name else ("q", "v")
    found = [titles(symmetries, o.format(part), 0) for part in names]
    assert [sorted(one) for one in found] == [sorted(q), sorted(v)]


def test_rotary_angles_are_computed_in_float64_where_the_model_casts_to_float32():
    network = NETWORKS["Llama"]
    model, symmetries = tried("Llama")
    generator = torch.Generator().manual_seed(0)
    weights = random_weights(weights_of(model), generator)
    moved = transformed(symmetries, weights, {s.space: random_element(s, generator) for s in symmetries.symmetries})

    def apart():
        one, other = (Forward().under(model, each, network.inputs) for each in (weights, moved))
        return float((one - other).abs().max() / one.abs().max())

    with torch.no_grad():
        assert apart() > 1e-9
        with in_double():
            assert apart() < 1e-12


@pytest.mark.parametrize("name", ["BERT, classification", "GPT-2", "Llama", "Gemma 3", "Mamba", "ViT"])
def test_weight_matching_brings_a_moved_copy_back(name):
    model, symmetries = tried(name)
    narrow = {GL: O, SCALED: S}  # of stretches and factors it takes rotations and permutations
    kept = (replace(each, group=narrow.get(each.group, each.group)) for each in symmetries.symmetries)
    symmetries = replace(symmetries, symmetries=tuple(kept))
    generator = torch.Generator().manual_seed(0)
    a = symmetries.completed(random_weights(weights_of(model), generator))
    b = transformed(symmetries, a, {each.space: random_element(each, generator) for each in symmetries.symmetries})
    assert any(float((a[each] - b[each]).norm()) > 0.2 * float(a[each].norm()) for each in symmetries.shapes)
    back = transformed(symmetries, b, match_weights(symmetries, a, b).elements, like=a)
    for each in symmetries.shapes:
        torch.testing.assert_close(back[each], a[each], rtol=1e-5, atol=1e-5 * float(a[each].norm()))


@pytest.mark.parametrize("name", ["BERT, classification", "Llama"])
def test_an_aligned_copy_is_the_same_function_also_where_norms_are_computed_in_float32(name):
    network = NETWORKS[name]
    model, symmetries = tried(name)
    generator = torch.Generator().manual_seed(0)
    a = {key: tensor.float() for key, tensor in random_weights(weights_of(model), generator).items()}
    exchanged = replace(symmetries, symmetries=tuple(replace(each, scales=()) for each in symmetries.symmetries))
    b = transformed(exchanged, a, {each.space: random_element(each, generator, S) for each in symmetries.symmetries})
    task = Task(network.make, CachedSplit("train", network.inputs, torch.zeros(3, dtype=torch.long)))
    found, record = aligned(make_aligner("weight-matching", None, seed=0, progress=SILENT), a, b, task)
    assert record["deviation"] <= record["allowed"] < 1e-4
    for key in symmetries.shapes:
        torch.testing.assert_close(found[key], a[key], rtol=1e-4, atol=1e-5)
    assert function_change(a, b, task).deviation < 1e-12
