"""Every condition under the Trainer's callback, for tiny models of Transformers."""

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'connectivity-hooks[transformers]'")
pytest.importorskip("accelerate", reason="Transformers' Trainer needs accelerate")

import transformers as hf
from transformers import Trainer, TrainingArguments

from connectivity_hooks.contracts import Adapter
from connectivity_hooks.features import Tokens, library
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.tasks import LOSSES
from connectivity_hooks.watching.probe import read_probe
from connectivity_hooks_transformers import WatchCallback
from connectivity_hooks_transformers.layers import block_layers
from connectivity_hooks_transformers.masks import positions

CONDITIONS = ["dropout-stability", "feature-rank", "memorization", "separability", "subnetwork"]
N, T = 12, 6
SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = {"vocab_size": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {**WORDS, **SIZES, "max_position_embeddings": 20}


def words(length=T):
    """Return sentences of several lengths; what follows one is padding."""
    ids = torch.randint(3, 30, (N, T), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(length) < torch.tensor([[2 + row % (T - 1)] for row in range(N)])).long()
    return {"input_ids": torch.cat([ids, torch.zeros(N, length - T).long()], 1), "attention_mask": mask}


def images(size=16):
    return {"pixel_values": torch.randn(N, 3, size, size, generator=torch.Generator().manual_seed(0))}


def classes():
    return torch.arange(N) % 2


def tags():
    return (words()["input_ids"] % 2).masked_fill(words()["attention_mask"] == 0, -100)


def swin():
    sizes = {"image_size": 32, "patch_size": 4, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3]}
    return hf.SwinForImageClassification(hf.SwinConfig(**sizes, window_size=2))


def convnext():
    return hf.ConvNextForImageClassification(
        hf.ConvNextConfig(num_stages=2, hidden_sizes=[12, 20], depths=[1, 2], patch_size=4)
    )


def t5():
    config = hf.T5Config(**WORDS, d_model=12, d_kv=6, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return hf.T5ForConditionalGeneration(config)


MODELS = {
    "classification": (lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)), words, classes),
    "tokens": (lambda: hf.BertForTokenClassification(hf.BertConfig(**TEXT)), words, tags),
    "masked words": (lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)), words, tags),
    "images": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**SIZES, image_size=16, patch_size=4)),
        images,
        classes,
    ),
    "windows": (swin, lambda: images(32), classes),
    "maps": (convnext, lambda: images(32), classes),
    "two sides": (t5, words, lambda: torch.randint(3, 30, (N, 4))),
}


class Rows(torch.utils.data.Dataset):
    """A data set of given samples."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return N

    def __getitem__(self, index):
        return {name: tensor[index] for name, tensor in self.batch.items()}


def made(kind):
    make, inputs, labels = MODELS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(), {**inputs(), "labels": labels()}


@pytest.mark.parametrize("kind", MODELS)
def test_every_condition_measures_every_block(tmp_path, kind, recwarn):
    model, batch = made(kind)
    callback = WatchCallback(Rows(batch), every=1, conditions=CONDITIONS)
    options = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_steps": 1}
    Trainer(model, TrainingArguments(str(tmp_path), **options), train_dataset=Rows(batch), callbacks=[callback]).train()
    found = {(verdict.condition, verdict.layer): verdict for verdict in callback.watch.verdicts}
    assert {name for name, _ in found} == set(CONDITIONS)
    measured = {place for place, verdict in found.items() if verdict.holds is not None}
    encoder = {place for place in found if kind == "two sides" and place[1].startswith("encoder")}
    of_positions = {place for place in encoder if place[0] in ("memorization", "separability", "subnetwork")}
    assert measured == found.keys() - of_positions  # an encoder's positions are not those of the answers
    assert {layer for _, layer in found} == set(block_layers(model))
    assert not [each for each in recwarn if "padding" in str(each.message)]


@pytest.mark.parametrize("pool", ["mean", "first", "last", "class"])
def test_a_longer_neighbour_in_the_batch_changes_no_feature(pool):
    model, _ = made("classification")
    layers = block_layers(model)[:-1]
    seen = [
        Observation(
            model.eval(),
            read_probe([(words(length), classes())], N, seed=0),
            LOSSES["cross-entropy"],
            layers,
            pool=pool,
        )
        for length in (T, 18)
    ]
    for layer in layers:
        torch.testing.assert_close(*(each.features(layer) for each in seen), rtol=1e-4, atol=1e-5)


def sounds():
    config = hf.Wav2Vec2Config(
        **TEXT, conv_dim=(10, 12), conv_stride=(4, 2), conv_kernel=(6, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return hf.Wav2Vec2ForSequenceClassification(config).eval()


class OfTransformers(Adapter):
    """Serves Transformers' models for one test."""

    prefix = "sounds"

    def create(self, name, arguments):
        raise NotImplementedError

    def claims(self, model):
        return isinstance(model, hf.PreTrainedModel)

    def layers(self, model):
        return block_layers(model)

    def positions(self, model, mask, lengths):
        return positions(model, mask, lengths)


def test_no_weight_computed_from_others_is_a_block():
    assert all("parametrizations" not in layer for layer in block_layers(sounds()))


def test_padding_of_sounds_is_reckoned_by_the_model_and_only_behind_its_convolutions(monkeypatch):
    class Registry:
        def adapter_of(self, model):
            return OfTransformers()

    monkeypatch.setattr("connectivity_hooks.registry.registry", Registry)
    model, mask = sounds(), torch.ones(3, 160).long()
    mask[1, 90:], mask[2, 60:] = 0, 0
    tokens = Tokens(model, {"input_values": torch.randn(3, 160), "attention_mask": mask})
    behind = int(model._get_feat_extract_output_lengths(torch.tensor(160)))
    known = tokens.at("wav2vec2.encoder.layers.0", torch.zeros(3, 12, behind))
    lengths = [int(model._get_feat_extract_output_lengths(torch.tensor(count))) for count in (160, 90, 60)]
    assert known.sum(1).tolist() == lengths
    assert tokens.at("wav2vec2.feature_extractor.conv_layers.0", torch.zeros(3, 10, behind + 5)) is None
    assert library.told_positions(model, mask.bool(), (behind, 2)) is None
