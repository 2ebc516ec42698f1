"""The header of a safetensors file, read with suspicion: nothing of the file is believed before it fits the rest."""

from __future__ import annotations

import collections
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from connectivity_hooks.untrusted import parse_json

# The format's own limit; the library's reader has it too.
LONGEST_HEADER = 100_000_000
# Far above what nested modules have; a name is shown, compared and stored many times.
LONGEST_NAME = 1024
# A path file puts `block.<index>.<k>/` before a weight's name, with up to nine digits each.
LONGEST_KEY = LONGEST_NAME + len("block.999999999.999999999/")

PATH_FORMAT = "connectivity_hooks.path/1"

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# How much of a file's start `looks_pickled` needs.
START = 9


class Malformed(Exception):
    """The file is not what it claims to be; the message is the fault, without the file's name."""


class Entry(NamedTuple):
    """One tensor of a file: `begin` and `end` count bytes from the end of the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    def outline(self) -> Tensor:
        """Return the tensor without its values, on the meta device."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Header:
    """What a file holds: tensors in the order of their bytes, metadata, and the header's own bytes."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    raw: bytes


def looks_pickled(start: bytes) -> bool:
    """Say whether a file that starts so is a pickle, zipped or not.

    A safetensors file starts with the length of its header, which may have the same bytes (640 is ``80 02``); but then
    the header's ``{`` is at byte 8, where no file of ``torch.save`` has it.
    """
    return start.startswith(_PICKLES) and start[8:9] != b"{"


def check_name(name: str, longest: int = LONGEST_NAME) -> None:
    """Raise `Malformed` where `name` cannot be a tensor's: one rule for what is read and what is written."""
    bad = not name or len(name) > longest or _CONTROL.search(name) or _SURROGATE.search(name)
    if bad or name == "__metadata__":
        raise Malformed(f"has a tensor with the name {shown(name)!r}, which no module can have")


def longest_name(metadata: Mapping[str, object]) -> int:
    """Return how long names may be in a file with this metadata."""
    return LONGEST_KEY if metadata.get("format") == PATH_FORMAT else LONGEST_NAME


def read_header(file: BinaryIO, size: int) -> Header:
    """Read and check the header of a file of `size` bytes; leave `file` at the first tensor's bytes.

    Raises:
        Malformed: Anything about it is wrong.
    """
    prefix = file.read(8)
    if len(prefix) < 8:
        raise Malformed("is too short for a safetensors file" if prefix else "is empty")
    length = int.from_bytes(prefix, "little")
    if length > LONGEST_HEADER:
        raise Malformed(f"is not a safetensors file: its header would have {length} bytes")
    raw = file.read(length)
    if len(raw) < length:
        raise Malformed(f"is truncated: its header has {length} bytes, {len(raw)} are there")
    fields = _parse(raw)
    metadata = _metadata(fields.pop("__metadata__", {}))
    longest = longest_name(metadata)
    entries = [_entry(name, field, longest) for name, field in fields.items()]
    entries.sort(key=operator.attrgetter("begin", "end"))
    _check_layout(entries, size - 8 - length)
    return Header(tuple(entries), metadata, prefix + raw)


def shown(name: str) -> str:
    """Return a name from a file as it may be shown: without control characters, and not too long."""
    plain = _SURROGATE.sub("?", _CONTROL.sub("?", name))
    return plain if len(plain) <= 120 else plain[:117] + "..."


def shown_key(key: object) -> str:
    """Return a key of any kind as it may be shown: text and numbers as they are, of others their type alone.

    The text of nested tuples that share their parts is longer than memory, however small their file is.
    """
    if isinstance(key, str):
        return shown(key)
    small = type(key) is int and abs(key) < 2**63  # Python refuses to write numbers of thousands of digits
    return str(key) if small else f"(a {shown(type(key).__name__)})"


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        fields = parse_json(text)
        # A name that stands twice leaves more descriptions than names; then the slower reading finds which.
        if isinstance(fields, dict) and text.count('"data_offsets"') != len(fields.keys() - {"__metadata__"}):
            fields = parse_json(text, _unique)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not a safetensors file: its header is not JSON ({str(error)[:80]})") from None
    if not isinstance(fields, dict):
        raise Malformed("is not a safetensors file: its header is not a JSON object")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise Malformed(f"names the tensor {shown(counts.most_common(1)[0][0])} twice")
    return fields


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Malformed("has metadata that is not text")
    return value


def _entry(name: str, field: Any, longest: int) -> Entry:
    check_name(name, longest)
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"describes tensor {shown(name)} with other fields than dtype, shape and data_offsets")
    shape, offsets = field["shape"], field["data_offsets"]
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise Malformed(f"gives tensor {shown(name)} a shape or offsets that are not whole numbers")
    dtype = _dtype(name, field["dtype"])
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise Malformed(f"gives tensor {shown(name)} of shape {shape} {offsets[1] - offsets[0]} bytes")
    if math.prod(max(1, length) for length in shape) >= 2**62:  # an empty tensor's other axes have strides too
        raise Malformed(f"gives tensor {shown(name)} the shape {shape}, which no tensor can have")
    return Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _dtype(name: str, code: Any) -> torch.dtype:
    found = DTYPES.get(code) if isinstance(code, str) else None
    if found is not None:
        return found
    kind = shown(str(code))
    if kind.startswith("C"):
        advice = "store torch.view_as_real of it, which keeps the imaginary part as a last axis"
    elif kind in ("U16", "U32", "U64"):
        advice = "store it as int64"
    else:
        advice = "store it as float32"
    raise Malformed(f"holds tensor {shown(name)} in {kind}, which is not read; {advice}")


def _naturals(values: Any) -> bool:
    if not isinstance(values, list) or not set(map(type, values)) <= {int}:
        return False
    return not values or (min(values) >= 0 and max(values) < 2**62)


def _check_layout(entries: list[Entry], available: int) -> None:
    position = 0
    for entry in entries:
        if entry.begin != position:
            fault = "overlaps another" if entry.begin < position else "leaves a hole before it"
            raise Malformed(f"is malformed: the bytes of tensor {shown(entry.name)} {fault}")
        position = entry.end
    if position > available:
        raise Malformed(f"is truncated: its tensors have {position} bytes, {available} are there")
    if position < available:
        raise Malformed(f"is malformed: {available - position} bytes belong to no tensor")
