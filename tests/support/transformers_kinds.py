"""A folder for each kind of Transformers' models: the user's file, and two runs with their tokenizer."""

from __future__ import annotations

import pathlib
import runpy
import shutil
from collections.abc import Callable

import numpy
import torch
import transformers as hf
from PIL import Image
from torch import nn
from transformers_pairs import PAIRS
from transformers_tiny import TEXT, TOKENS
from word_tokenizers import TEXT as WORDS
from word_tokenizers import save_tokenizer

FILES = pathlib.Path(__file__).parent.parent / "kinds" / "folders"


def _masked() -> nn.Module:
    return hf.BertForMaskedLM(hf.BertConfig(**{**TEXT, "max_position_embeddings": 128}))


def _causal() -> nn.Module:
    return hf.GPT2LMHeadModel(hf.GPT2Config(**TOKENS, n_positions=256, n_embd=16, n_layer=1, n_head=2))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "sentences": PAIRS["BERT, classification"][0],
    "tagged": PAIRS["BERT, tokens"][0],
    "book": _masked,
    "corpus": _causal,
    "stories": PAIRS["Llama"][0],
    "translations": PAIRS["T5"][0],
    "speech": PAIRS["Whisper"][0],
    "photos": PAIRS["Swin"][0],
    "images": PAIRS["ViT"][0],
    "masks": PAIRS["SegFormer"][0],
    "captions": PAIRS["CLIP"][0],
    "reviews": PAIRS["DistilBERT"][0],
    "replies": _causal,
}
"""By the name of the data: what makes the model."""


def tokenizer(folder: pathlib.Path) -> hf.PreTrainedTokenizerFast:
    """Return a tokenizer of a few words that pads and masks."""
    save_tokenizer(folder)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    return hf.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)


def workspace(kind: str, folder: pathlib.Path) -> pathlib.Path:
    """Make a folder with the kind's data and two runs."""
    words = tokenizer(folder / "words")
    write_data(kind, folder)
    for seed, run in enumerate(("run1", "run2")):
        torch.manual_seed(seed)
        words.save_pretrained(folder / run)
        model = MODELS[kind]()
        if kind == "replies":
            adapt(model, folder, run)
        else:
            model.save_pretrained(folder / run)
        if kind == "sentences":
            train(model, folder, run)
        if kind in ("images", "masks", "captions"):
            processor(kind).save_pretrained(folder / run)
    return folder


def write_data(kind: str, folder: pathlib.Path) -> None:
    """Write what the user has beside the runs."""
    if (FILES / f"{kind}.py").exists():
        shutil.copy(FILES / f"{kind}.py", folder)
    elif kind == "photos":
        generator = numpy.random.default_rng(0)
        for number in range(10):
            place = folder / "photos" / ("test" if number > 4 else "train") / f"class{number % 5}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(256, size=(32, 32, 3), dtype="uint8")).save(place / f"{number}.png")
    elif kind == "reviews":
        import datasets

        rows = {"text": WORDS.splitlines() * 2, "label": [0, 1] * 6}
        split = datasets.Dataset.from_dict(rows)
        datasets.DatasetDict({"train": split, "test": split}).save_to_disk(folder / kind)
    else:
        (folder / f"{kind}.txt").write_text(WORDS * 80, encoding="utf-8")


def processor(kind: str) -> hf.BaseImageProcessor:
    """Return what makes pixels of images."""
    if kind == "masks":
        return hf.SegformerImageProcessor(size={"height": 32, "width": 32})
    return hf.ViTImageProcessor(size={"height": 16, "width": 16})


def train(model: nn.Module, folder: pathlib.Path, run: str) -> None:
    """Let the Trainer write a checkpoint-500 of what two steps made."""
    words = hf.AutoTokenizer.from_pretrained(folder / run)
    samples = [
        {**words(text), "label": label} for text, label in runpy.run_path(str(folder / "sentences.py"))["train_set"]
    ]
    arguments = hf.TrainingArguments(str(folder / run), max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True)
    trainer = hf.Trainer(model, arguments, train_dataset=samples, processing_class=words)
    trainer.train()
    trainer.save_model()
    (folder / run / "checkpoint-2").rename(folder / run / "checkpoint-500")


def given_to_a_script(kind: str) -> dict[str, object]:
    """Return the names that a training of a kind has, in its folder."""
    arguments = hf.TrainingArguments("run3", max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True)
    tokens = hf.AutoTokenizer.from_pretrained("run1")(WORDS.split("\n")[0])["input_ids"]
    samples = [{"input_ids": tokens, "labels": tokens}] * 16
    model = MODELS[kind]()
    model.loss_type = "ForCausalLM"  # the library's default, which it would remark on
    return {"Trainer": hf.Trainer, "model": model, "arguments": arguments, "train_set": samples}


def adapt(model: nn.Module, folder: pathlib.Path, run: str) -> None:
    """Write an adapter of random factors on one base."""
    import peft

    if run == "run1":
        model.save_pretrained(folder / "base")
    base = hf.AutoModelForCausalLM.from_pretrained(folder / "base")
    made = peft.get_peft_model(base, peft.LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM"))
    made.save_pretrained(folder / run)
