"""A text for language models, ``corpus.txt?block=256``: tokenised, and cut into blocks of so many tokens.

Blocks follow each other without overlap and without padding; their targets are the tokens themselves, or, with
``?mask=0.15``, hidden tokens as BERT was trained on them (Devlin et al. 2019, 3.1): of those drawn 80 % become the
mask token, 10 % any token and 10 % stay, and only they count.
"""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from connectivity_hooks.contracts.tokenizer import Tokenizer
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.data.caps import Cap, caps_of
from connectivity_hooks.tasks.data.raw import RawData
from connectivity_hooks.tasks.data.spec import DataSpec
from connectivity_hooks.tasks.data.tokenizers import OPTION, tokenizer_for
from connectivity_hooks.tasks.loss import IGNORED
from connectivity_hooks.untrusted import guarded, open_regular

OPTIONS = ("block", "mask", "test_file", OPTION)
SUFFIXES = (".txt", ".text")
TOKENS = "input_ids"

_PIECE = 1 << 20
"""Characters that are tokenised at once: what a tokenizer keeps of a text is a hundred times the text."""
_HIDDEN, _REPLACED = 0.8, 0.1  # of the drawn tokens: the mask token, any token
_BYTES = 24  # of a token: input, mask and target


def load(
    spec: DataSpec, folders: Sequence[pathlib.Path], most_tokens: int | None, say: Callable[[str], object]
) -> RawData:
    """Return blocks (N, T) of a text's tokens as ``input_ids``, an ``attention_mask`` of ones, and targets (N, T).

    Args:
        spec: ``FILE?block=T``, and perhaps ``test=`` a share or a number of blocks, the last ones, or ``test_file=``;
            ``mask=`` a share for masked language models; ``tokenizer=FOLDER``; and caps.
        folders: Of the checkpoints, where their tokenizer lies.
        most_tokens: How many tokens the model has embeddings for; None where that is not known.
        say: Told in a line what was left out or drawn.

    Raises:
        InputError: The text is none, is shorter than a block, or there is no one tokenizer.
        UsageError: An option has no meaning here.
    """
    spec.require_known(OPTIONS)
    block = spec.count("block")
    if block is None:
        raise UsageError(
            f"--data {spec.typed}: expected ?block=N, the tokens of one sample, e.g. {spec.body}?block=256"
        )
    held_out, share = _held_out(spec), spec.share("mask")
    caps = caps_of(spec.without(() if "test_file" in spec.options else ("test",)), say).called("blocks")
    tokenizer = tokenizer_for(spec, folders)
    if share is not None and tokenizer.mask is None:
        raise UsageError(f"--data {spec.typed}: mask is given, and the tokenizer has no token for it; leave it out")
    blocks = _blocks(pathlib.Path(spec.body), tokenizer, block, most_tokens, say)
    test = None
    if "test_file" in spec.options:
        test = _blocks(pathlib.Path(str(spec.text("test_file"))), tokenizer, block, most_tokens, say)
    elif held_out is not None:
        count = held_out if isinstance(held_out, int) else max(1, round(held_out * len(blocks)))
        if count >= len(blocks):
            raise InputError(f"{spec.body}: has {len(blocks)} blocks, {count} of them for the test split; give fewer")
        blocks, test = blocks[:-count], blocks[-count:]
    seed = caps.train.seed
    train_split = _split(blocks, caps.train, share, tokenizer, seed)
    return RawData(train_split, None if test is None else _split(test, caps.test, share, tokenizer, seed + 1))


def _held_out(spec: DataSpec) -> int | float | None:
    """Return what ``test=`` means: a share or a number of blocks; None where it is not given, or is a cap."""
    if "test" not in spec.options:
        return None
    if "test_file" in spec.options or type(spec.options["test"]) is not float:
        return spec.count("test")
    return spec.share("test")


def _split(blocks: Tensor, cap: Cap, share: float | None, tokenizer: Tokenizer, seed: int) -> Batch:
    rows = cap.rows(len(blocks))
    tokens = blocks if rows is None else blocks[rows]
    inputs, targets = (tokens, tokens.clone()) if share is None else masked(tokens, share, tokenizer, seed)
    return {TOKENS: inputs, "attention_mask": torch.ones_like(inputs)}, targets


def masked(tokens: Tensor, share: float, tokenizer: Tokenizer, seed: int) -> tuple[Tensor, Tensor]:
    """Return tokens (N, T) of which a share is hidden, and targets (N, T): the hidden ones, `IGNORED` elsewhere.

    Drawn once with an own generator, the same at every pass. Tokens that stand for no text are never hidden.

    Raises:
        InputError: No token was drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    text = ~torch.isin(tokens, torch.tensor(sorted(tokenizer.special), dtype=tokens.dtype))
    drawn = (torch.rand(tokens.shape, generator=generator) < share) & text
    if not bool(drawn.any()):
        raise InputError(f"mask={share}: no token was drawn of {tokens.numel()}; give a larger share or more blocks")
    what = torch.rand(tokens.shape, generator=generator)
    others = torch.randint(tokenizer.size, tokens.shape, generator=generator)
    inputs = tokens.clone()
    inputs[drawn & (what < _HIDDEN)] = tokenizer.mask or 0
    replaced = drawn & (what >= _HIDDEN) & (what < _HIDDEN + _REPLACED)
    inputs[replaced] = others[replaced]
    return inputs, tokens.masked_fill(~drawn, IGNORED)


def _blocks(
    file: pathlib.Path, tokenizer: Tokenizer, block: int, most_tokens: int | None, say: Callable[[str], object]
) -> Tensor:
    tokens = _tokens(file, tokenizer)
    count = len(tokens) // block
    if count == 0:
        raise InputError(f"{file}: has {len(tokens)} tokens, fewer than one block of {block}; give a smaller block")
    largest = int(tokens.max())
    if most_tokens is not None and largest >= most_tokens:
        raise InputError(
            f"{file}: the tokenizer makes token {largest}, and the model has embeddings for {most_tokens}; expected "
            "the tokenizer that it was trained with"
        )
    left = len(tokens) - count * block
    if left:
        say(f"{file}: {len(tokens)} tokens are {count} blocks of {block}; the last {left} are left out")
    return tokens[: count * block].view(count, block)


def _tokens(file: pathlib.Path, tokenizer: Tokenizer) -> Tensor:
    parts: list[Tensor] = []
    with open_regular(file) as stream, guarded(file, "a text in UTF-8"):
        require_memory(os.fstat(stream.fileno()).st_size * _BYTES // 4, file, "give a shorter text")
        for piece in _pieces(io.TextIOWrapper(stream, "utf-8")):
            with guarded_call(f"{file}: cannot be tokenised"):
                parts.append(torch.tensor(tokenizer.encode(piece), dtype=torch.int64))
    require_memory(sum(map(len, parts)) * _BYTES, file, "give a shorter text")
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _pieces(text: io.TextIOBase) -> Iterator[str]:
    """Yield a text in pieces that end where a line does, or else a word; so no token is cut."""
    kept = ""
    while read := text.read(_PIECE):
        kept += read
        end = kept.rfind("\n") + 1 or kept.rfind(" ")
        if end > 0:
            yield kept[:end]
            kept = kept[end:]
    if kept:
        yield kept
