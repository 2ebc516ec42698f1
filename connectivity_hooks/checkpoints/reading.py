"""Reading checkpoints: headers at once, tensors when they are asked for; nothing mapped, nothing trusted."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from torch import Tensor

from connectivity_hooks.checkpoints import sharded
from connectivity_hooks.checkpoints.contents import Contents, contents_of, header_of
from connectivity_hooks.checkpoints.header import Header, shown
from connectivity_hooks.checkpoints.in_folder import INDEX, in_folder
from connectivity_hooks.errors import InputError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.untrusted import guarded, open_regular, require_utf8


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file: what its header says is known at once, the tensors are read when they are first asked for.

    So names and shapes can be compared with a model before any memory is taken. What was read is kept.

    Attributes:
        outline: Tensors by name on the meta device: shapes and types without values.
        metadata: The header's metadata; of a sharded checkpoint that of its first shard.
        file: The file that was read.
        notes: What a person should know, such as tensors that were left out.
    """

    outline: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    file: pathlib.Path
    notes: tuple[str, ...]
    _read: Callable[[], Contents] = field(repr=False)

    @property
    def label(self) -> str:
        """What notes call the file: its name, and its folder's where every folder has a file of that name."""
        alike = self.file.name.startswith(("model.safetensors", "adapter_model.safetensors"))
        return f"{self.file.parent.name}/{self.file.name}" if alike and self.file.parent.name else self.file.name

    @cached_property
    def contents(self) -> Contents:
        """Tensors, digest, and where values are not finite; read in one pass.

        Raises:
            InputError: The file changed since it was opened, is cut short, or needs more memory than there is.
        """
        return self._read()

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Tensors by name, on the CPU, in the file's own types."""
        return self.contents.weights

    @property
    def sha256(self) -> str:
        """Digest of the file's bytes.

        Of a sharded checkpoint that of the index's bytes followed by each shard's hexadecimal digest in the order of
        the shards' names.
        """
        return self.contents.sha256

    @property
    def is_read(self) -> bool:
        """Whether the tensors are in memory."""
        return "contents" in vars(self)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a safetensors file, a sharded ``*.safetensors.index.json``, or a folder that holds one of them.

    Headers are read and checked here, tensors when they are asked for. Memory: then the tensors themselves. The file is
    read, not mapped: a file that is cut short meanwhile is an error, not a killed process.

    Raises:
        InputError: There is no such file, or it is malformed, hostile or a pickle; one line says what to do.
    """
    with guarded(shown(str(path)), "the path of a checkpoint"):
        file, notes = in_folder(pathlib.Path(path))
    require_utf8(file)
    if file.name.endswith(INDEX):
        return _sharded(file, notes)
    header = header_of(file)
    outline = {entry.name: entry.outline() for entry in header.entries}
    return Checkpoint(outline, header.metadata, file, notes, partial(contents_of, file, header))


def read_together(*checkpoints: Checkpoint) -> None:
    """Read the tensors of several checkpoints at once, each in a thread of its own.

    Raises:
        InputError: One of them cannot be read, or all together need more memory than there is.
    """
    unread = list({id(one): one for one in checkpoints if not one.is_read}.values())
    if not unread:
        return
    sizes = [sum(tensor.nbytes for tensor in one.outline.values()) for one in unread]
    names = " and ".join(str(one.file) for one in unread)
    require_memory(sum(sizes), names, "use a machine with more")
    with concurrent.futures.ThreadPoolExecutor(len(unread)) as threads:
        list(threads.map(lambda one: one.contents, unread))


def require_finite(checkpoint: Checkpoint) -> None:
    """Raise `InputError` naming the first tensor that holds NaN or Inf."""
    for name, count in checkpoint.contents.non_finite.items():
        raise non_finite_fault(checkpoint.file, name, count, checkpoint.outline[name].numel())


def non_finite_fault(file: pathlib.Path, name: str, count: int, of: int) -> InputError:
    """Return the refusal of a tensor that holds `count` NaN or Inf among `of` values."""
    return InputError(
        f"{file}: tensor {shown(name)} holds {count} NaN or Inf of {of} values; "
        "use a checkpoint from before the training diverged"
    )


def _sharded(index: pathlib.Path, notes: tuple[str, ...]) -> Checkpoint:
    with open_regular(index) as stream:
        raw = stream.read(sharded.LONGEST_INDEX + 1)
    shards = dict(sorted(sharded.shards_of(index, raw).items()))
    headers = {shard: header_of(index.parent / shard) for shard in shards}
    outline: dict[str, Tensor] = {}
    left_out = 0
    for shard, names in shards.items():
        found = {entry.name: entry for entry in headers[shard].entries}
        missing = sorted(names - found.keys())
        if missing:
            raise InputError(
                f"{index}: {shown(missing[0])} should be in {shown(shard)} and is not; save the checkpoint again"
            )
        outline.update({name: entry.outline() for name, entry in found.items() if name in names})
        left_out += len(found.keys() - names)
    metadata = next((header.metadata for header in headers.values() if header.metadata), {})
    if left_out:
        notes = (*notes, f"{index.name}: {left_out} tensors in its shards are not named by the index and are left out")
    read_all = partial(_contents_of_shards, index.parent, raw, shards, headers)
    return Checkpoint(outline, metadata, index, notes, read_all)


def _contents_of_shards(
    folder: pathlib.Path, raw: bytes, shards: Mapping[str, set[str]], headers: Mapping[str, Header]
) -> Contents:
    weights: dict[str, Tensor] = {}
    non_finite: dict[str, int] = {}
    digest = hashlib.sha256(raw)
    for shard, names in shards.items():
        found = contents_of(folder / shard, headers[shard], names)
        weights.update(found.weights)
        non_finite.update(found.non_finite)
        digest.update(found.sha256.encode())
    return Contents(weights, digest.hexdigest(), non_finite)
