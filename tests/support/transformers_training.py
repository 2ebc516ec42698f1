"""A training of Transformers' Trainer: a tiny network made from a configuration, dict batches with labels."""

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

ROWS, LENGTH, TOKENS = 64, 8, 50
BLOCKS = ("bert.encoder.layer.0", "bert.encoder.layer.1")


def network():
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=TOKENS,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
    )


class Sentences(Dataset):
    """Random tokens; the class is whether the first ones are high."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, TOKENS, (ROWS, LENGTH), generator=generator)

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        tokens = self.tokens[index]
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "label": int(tokens[:3].sum() > 75)}


def trainer(folder, *callbacks, **options):
    """Return a Trainer over 64 samples in batches of 8, two of them accumulated: 8 steps in 2 epochs."""
    torch.manual_seed(0)
    arguments = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "save_strategy": "epoch",
        "logging_steps": 2,
        "learning_rate": 1e-3,
        **options,
    }
    fixed = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "seed": 1}
    return Trainer(
        network(),
        TrainingArguments(str(folder), **fixed, **arguments),
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        callbacks=list(callbacks),
    )


def train(folder, *callbacks, checkpoint=None, **options):
    """Train and return the model."""
    training = trainer(folder, *callbacks, **options)
    training.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return training.model
