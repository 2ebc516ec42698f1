"""The tokenizer that lies in a checkpoint's folder, as ``save_pretrained`` and the Trainer write it.

A folder with ``tokenizer.json`` alone is read by the library tokenizers; what else says of a tokenizer needs
Transformers, which knows the classes.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from connectivity_hooks.contracts import Tokenizer
from connectivity_hooks.errors import InputError
from connectivity_hooks.untrusted import guarded, read_text

_JSON, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_OTHERS = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_EXPECTED, _REMEDY = "a folder with a tokenizer", "save it again with tokenizer.save_pretrained"
_INSTALL = "pip install 'connectivity-hooks[transformers]'"


def tokenizer_of(folder: pathlib.Path) -> Tokenizer | None:
    """Return the tokenizer of a folder; None where no file of one is there.

    Nothing is downloaded, and no code of the folder's own is run: a tokenizer that needs some is refused.

    Raises:
        InputError: Its files are damaged, or the library that reads them is not installed.
    """
    whole, described = folder / _JSON, folder / _CONFIG
    if described.is_file() or any((folder / name).is_file() for name in _OTHERS):
        return _of_transformers(folder, whole)
    return _of_tokenizers(whole) if whole.is_file() else None


def _of_tokenizers(file: pathlib.Path) -> Tokenizer:
    try:
        import tokenizers
    except ImportError:
        raise InputError(f"{file}: needs the library tokenizers: {_INSTALL}") from None
    text = read_text(file, "a tokenizer", _REMEDY)
    with guarded(file, "a tokenizer", _REMEDY):
        made = tokenizers.Tokenizer.from_str(text)
        made.no_padding()
        made.no_truncation()
        special = {number: token.content for number, token in made.get_added_tokens_decoder().items() if token.special}
        numbers = {content: number for number, content in special.items()}
        return _described(
            lambda words, ends: made.encode(words, add_special_tokens=ends).ids,
            made.get_vocab(),
            frozenset(special),
            numbers.get("[MASK]", numbers.get("<mask>")),
            numbers.get("[PAD]", numbers.get("<pad>")),
        )


def _of_transformers(folder: pathlib.Path, whole: pathlib.Path) -> Tokenizer:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        if whole.is_file():
            return _of_tokenizers(whole)
        raise InputError(f"{folder}: its tokenizer needs Transformers: {_INSTALL}") from None
    with guarded(folder, _EXPECTED, _REMEDY):
        made = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        return _described(
            lambda words, ends: _numbers(made, words, ends),
            made.get_vocab(),
            frozenset(made.all_special_ids),
            made.mask_token_id,
            made.pad_token_id,
        )


def _numbers(made: Any, words: str, ends: bool) -> list[int]:
    # Not verbose: it remarks on texts that are longer than its model's inputs, which are cut into blocks afterwards.
    found: list[int] = made(words, add_special_tokens=ends, truncation=False, padding=False, verbose=False)["input_ids"]
    return found


def _described(
    encode: Callable[[str, bool], list[int]],
    vocabulary: Mapping[str, int],
    special: frozenset[int],
    mask: int | None,
    pad: int | None,
) -> Tokenizer:
    digest = hashlib.sha256(repr(sorted(vocabulary.items())).encode("utf-8", "backslashreplace")).hexdigest()
    size = max(vocabulary.values(), default=-1) + 1
    return Tokenizer(
        lambda words: encode(words, False), lambda words: encode(words, True), size, digest, special, mask, pad
    )
