"""Tokenizers made on the spot, in the files that libraries write; nothing is downloaded."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

TEXT = "".join(f"the {animal} sat on the {thing} .\n" for animal in ("cat", "dog", "hen") for thing in ("mat", "log"))


def save_tokenizer(folder: pathlib.Path, further: Sequence[str] = (), *, mask: bool = True) -> None:
    """Write ``tokenizer.json`` of whole words, [UNK] 0, [PAD] 1 and perhaps [MASK] 2 before them."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["[UNK]", "[PAD]", *(["[MASK]"] if mask else [])]
    words = dict.fromkeys([*special, *TEXT.split(), *further])
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(special)
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))


def offer_tokenizers(monkeypatch) -> None:
    """Let an adapter look for tokenizers, where the installed plugins have none that does."""
    from connectivity_hooks.registry import registry
    from connectivity_hooks.registry.registry import Entry
    from connectivity_hooks_timm.adapter import TimmAdapter
    from connectivity_hooks_transformers.tokenizing import tokenizer_of

    class Reading(TimmAdapter):
        def tokenizer(self, folder):
            return tokenizer_of(folder)

    if "transformers" not in registry().adapters:
        entry = Entry("transformers", Reading, registry().adapters["timm"].origin)
        monkeypatch.setitem(registry().adapters, "transformers", entry)
