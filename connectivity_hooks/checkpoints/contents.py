"""The tensors of a safetensors file in one pass: read, looked through for NaN and Inf while hot, hashed beside that."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from connectivity_hooks.checkpoints.header import START, Entry, Header, Malformed, looks_pickled, read_header, shown
from connectivity_hooks.errors import InputError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.untrusted import guarded, open_regular

# Fits the caches that cores share, so that a chunk is looked through before it leaves them.
_CHUNK = 1 << 24
# Below this, handing a chunk to another thread takes longer than hashing it.
_SMALL = 1 << 18
# Chunks that reading may be ahead of hashing: enough that neither waits for the other's turn on a busy machine.
_BEHIND = 8


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        weights: Tensors by name, on the CPU, in the file's own types.
        sha256: Digest of the file's bytes.
        non_finite: For each floating tensor that holds NaN or Inf: how many.
    """

    weights: Mapping[str, Tensor]
    sha256: str
    non_finite: Mapping[str, int]


def header_of(file: pathlib.Path) -> Header:
    """Read the header of a safetensors file, and compare it with the file's size.

    Raises:
        InputError: There is no such file, or it is malformed, hostile or a pickle.
    """
    with open_regular(file) as stream, _malformed(file):
        _refuse_pickle(file, stream)
        return read_header(stream, os.fstat(stream.fileno()).st_size)


def contents_of(file: pathlib.Path, expected: Header, only: Collection[str] | None = None) -> Contents:
    """Read a file's tensors, or `only` those named, and its digest; its header must still be as `expected`.

    Raises:
        InputError: The file changed since its header was read, is cut short meanwhile, or needs more memory than there
            is.
    """
    kept = [entry for entry in expected.entries if only is None or entry.name in only]
    require_memory(sum(entry.end - entry.begin for entry in kept), file, "use a machine with more")
    weights: dict[str, Tensor] = {}
    non_finite: dict[str, int] = {}
    with open_regular(file) as stream, _malformed(file), _Digest() as digest:
        if read_header(stream, os.fstat(stream.fileno()).st_size).raw != expected.raw:
            raise Malformed("changed while it was in use")
        digest.update(expected.raw)
        for entry in expected.entries:
            tensor, bad = _read_tensor(stream, entry, digest)
            if only is None or entry.name in only:
                weights[entry.name] = tensor
                non_finite.update({entry.name: bad} if bad else {})
        return Contents(weights, digest.hexdigest(), non_finite)


def count_non_finite(tensor: Tensor) -> int:
    """Return how many values of a floating tensor are NaN or Inf; 0 for other types."""
    return 0 if _finite(tensor.reshape(-1)) else tensor.numel() - int(torch.isfinite(tensor).sum())


class _Digest:
    """A sha256 that is computed in a thread of its own beside the reading, a few chunks behind it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)  # started by the first large chunk
        self._pending: collections.deque[concurrent.futures.Future[None]] = collections.deque()

    def __enter__(self) -> _Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def update(self, part: bytes | memoryview) -> None:
        """Take the next bytes, which must not change any more."""
        while self._pending and (self._pending[0].done() or len(self._pending) >= _BEHIND):
            self._pending.popleft().result()
        if self._pending or len(part) >= _SMALL:
            self._pending.append(self._thread.submit(self._hash.update, part))
        else:
            self._hash.update(part)

    def hexdigest(self) -> str:
        while self._pending:
            self._pending.popleft().result()
        return self._hash.hexdigest()


def _read_tensor(stream: BinaryIO, entry: Entry, digest: _Digest) -> tuple[Tensor, int]:
    """Return a tensor, and how many of its values are NaN or Inf."""
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    if not tensor.numel():
        return tensor, 0
    flat = tensor.reshape(-1)
    view = flat.view(torch.uint8).numpy().data
    finite = True
    for start in range(0, len(view), _CHUNK):
        part = view[start : start + _CHUNK]
        if stream.readinto(part) != len(part):  # type: ignore[attr-defined]
            raise Malformed(f"was cut short while tensor {shown(entry.name)} was read")
        digest.update(part)
        size = entry.dtype.itemsize
        finite = finite and _finite(flat[start // size : (start + len(part)) // size])
    return tensor, 0 if finite else count_non_finite(tensor)


def _finite(flat: Tensor) -> bool:
    """Say whether no value is NaN or Inf: both reach the smallest or the largest, in one pass without a copy."""
    if not flat.numel() or not flat.is_floating_point():
        return True
    low, high = torch.aminmax(flat)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _refuse_pickle(file: pathlib.Path, stream: BinaryIO) -> None:
    pickled = looks_pickled(stream.read(START))
    stream.seek(0)
    if pickled:
        target = file.with_suffix(".safetensors").name
        raise InputError(
            f"{file}: is a pickle, which can run code when it is read; make a safetensors file of it with "
            f"connectivity-hooks convert {shown(file.name)} {shown(target)}"
        )


@contextlib.contextmanager
def _malformed(file: pathlib.Path) -> Iterator[None]:
    with guarded(file, "a safetensors file that can be read", "save it again"):
        try:
            yield
        except Malformed as fault:
            raise InputError(f"{file}: {fault}; save it again") from None
