"""What an adapter says of a library's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer that lies beside a checkpoint.

    Attributes:
        encode: Returns the tokens of a text, without any that mark its ends.
        encode_whole: The same with those that mark its ends, as a model of whole texts is given them.
        size: The largest token is below it.
        vocabulary: A digest of all tokens and their numbers; of two tokenizers alike only where these are.
        special: Tokens that stand for no text.
        mask: The token that stands for a hidden one; None where there is none.
        pad: The token that fills up; None where there is none.
    """

    encode: Callable[[str], list[int]]
    encode_whole: Callable[[str], list[int]]
    size: int
    vocabulary: str
    special: frozenset[int] = frozenset()
    mask: int | None = None
    pad: int | None = None
