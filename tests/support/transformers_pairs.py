"""Two networks of each of many architectures, as save_pretrained writes them, and loaders of dict batches for them.

Also the file that commands name as ``--data transformers_pairs.py:loaders?name=…``.
"""

import pathlib
import sys

import torch
import transformers as hf

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))

from transformers_tiny import DECODER, IMAGE, NETWORKS, TEXT

TRAIN, TEST, BATCH = 2, 1, 4

hf.utils.logging.disable_progress_bar()  # tests read what commands write


def _draw(*shape):
    return torch.randn(shape, generator=_GENERATOR)


def _tokens(*shape, least=3, most=30):
    return torch.randint(least, most, shape, generator=_GENERATOR)


def text(length=6):
    mask = torch.ones(BATCH, length, dtype=torch.long)
    mask[-1, -2:] = 0
    return {"input_ids": _tokens(BATCH, length), "attention_mask": mask}


def sentences(classes):
    return {**text(), "labels": torch.arange(BATCH) % classes}


def tagged(classes):
    labels = _tokens(BATCH, 6, least=0, most=classes)
    labels[:, 0] = -100
    return {**text(), "labels": labels}


def gapped():
    batch = text()
    labels = batch["input_ids"].clone()
    labels[:, ::2] = -100
    return {**batch, "labels": labels}


def continued():
    batch = text()
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


def answered():
    return {**text(), "labels": _tokens(BATCH, 4)}


def photos(size, classes=5):
    return {"pixel_values": _draw(BATCH, 3, size, size), "labels": torch.arange(BATCH) % classes}


def maps(size, classes=5):
    return {"pixel_values": _draw(BATCH, 3, size, size), "labels": _tokens(BATCH, size, size, least=0, most=classes)}


def sounds():
    return {"input_features": _draw(BATCH, 6, 16), "labels": _tokens(BATCH, 4)}


def captioned():
    return {**text(), "pixel_values": _draw(BATCH, 3, 16, 16)}


def _mixtral():
    return hf.MixtralForCausalLM(hf.MixtralConfig(**DECODER, num_local_experts=2, num_experts_per_tok=1))


PAIRS = {
    "BERT, classification": (NETWORKS["BERT, classification"].make, lambda: sentences(2)),
    "BERT, tokens": (lambda: hf.BertForTokenClassification(hf.BertConfig(**TEXT, num_labels=3)), lambda: tagged(3)),
    "BERT, masked words": (NETWORKS["BERT, masked words"].make, gapped),
    "DistilBERT": (NETWORKS["DistilBERT"].make, lambda: sentences(2)),
    "DeBERTa-v2": (NETWORKS["DeBERTa-v2"].make, lambda: sentences(2)),
    "ModernBERT": (NETWORKS["ModernBERT"].make, gapped),
    "GPT-2": (NETWORKS["GPT-2"].make, continued),
    "Llama": (NETWORKS["Llama"].make, continued),
    "Qwen2": (NETWORKS["Qwen2"].make, continued),
    "Mixtral": (_mixtral, continued),
    "T5": (NETWORKS["T5"].make, answered),
    "Whisper": (NETWORKS["Whisper"].make, sounds),
    "ViT": (lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)), lambda: photos(16)),
    "Swin": (NETWORKS["Swin"].make, lambda: photos(32)),
    "SegFormer": (NETWORKS["SegFormer"].make, lambda: maps(32)),
    "CLIP": (NETWORKS["CLIP"].make, captioned),
}
"""By name: makes the network, makes a batch."""


def loaders(name):
    """Return batches to train on and to test on."""
    global _GENERATOR
    _GENERATOR = torch.Generator().manual_seed(0)
    make = PAIRS[name][1]
    return [make() for _ in range(TRAIN)], [make() for _ in range(TEST)]


def write_pair(name, folder):
    """Write two networks of different seeds as the folders a and b."""
    for seed, end in enumerate("ab"):
        torch.manual_seed(seed)
        PAIRS[name][0]().save_pretrained(folder / end)


_GENERATOR = torch.Generator().manual_seed(0)
