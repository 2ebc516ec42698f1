"""``FILE.py:callable`` that returns training and test loaders, and the loaders themselves from code."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, Subset

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.model.batches import Batch, BatchReader
from connectivity_hooks.model.inputs import concatenated, mapped, named_tensors
from connectivity_hooks.strangers import guarded_batches, guarded_call
from connectivity_hooks.tasks.batched import alike
from connectivity_hooks.tasks.data.caps import Cap, Caps, Chosen, caps_of
from connectivity_hooks.tasks.data.dataset_folder import is_dataset, of_datasets
from connectivity_hooks.tasks.data.left_out import NOTHING, LeftOut
from connectivity_hooks.tasks.data.raw import RawData, Source
from connectivity_hooks.tasks.data.spec import DataSpec, parted_for
from connectivity_hooks.tasks.references import call, parse, resolve
from connectivity_hooks.tasks.split import Split

_BATCH = 256
# Of a loader that says no length: beyond any data set that is gone through here, and its targets still fit in memory.
_MOST_SAMPLES = 10**8


def load(spec: DataSpec, cache_limit: int, say: Callable[[str], object], unused: LeftOut = NOTHING) -> RawData:
    """Call the function and return its splits, in memory where they fit.

    It returns a pair (train, test), a dict with ``train`` and ``test``, or one loader. A loader gives batches each time
    it is iterated, of any one form that `read_batch` knows; a ``Dataset`` is batched; a ``DataLoader`` that shuffles is
    gone through in order instead. Batches that are padded each to a length of its own stay batches.

    Args:
        spec: ``FILE.py:callable?arg=value``; caps that the callable does not take are ours.
        cache_limit: Bytes of each split that may be held in memory.
        say: Told in a line what was drawn.
        unused: Says which of a batch's named inputs are left out.

    Raises:
        InputError: The function fails, or returns something else; or the batches' entries or targets are unequal.
    """
    reference = parse(spec.typed)
    function = resolve(reference)
    theirs, ours = parted_for(function, spec)
    caps = caps_of(ours, say)
    returned = call(replace(reference, arguments=theirs), function)
    return of_loaders(returned, f"{reference.home}:{reference.name}", cache_limit, caps, unused)


def of_objects(given: Any, where: str, cache_limit: int, unused: LeftOut = NOTHING) -> RawData:
    """Return the splits of what was given in code: a function as `load` calls it, or what such a function returns.

    Args:
        given: The function or the loaders; a `Split` is a loader too.
        where: The first words of a message.
        cache_limit: See `load`.
        unused: See `load`.
        cache_limit: See `load`.

    Raises:
        InputError: See `load`.
    """
    if callable(given) and not isinstance(given, (Iterable, Dataset, Split)):
        with guarded_call(f"{where}: its function fails"):
            given = given()
    return of_loaders(given, where, cache_limit, unused=unused)


def of_loaders(
    returned: Any, where: str, cache_limit: int, caps: Caps | None = None, unused: LeftOut = NOTHING
) -> RawData:
    """Return the splits of a pair (train, test), a dict with both, or one loader."""
    train, test = _pair(returned, where)
    if train is None:
        raise InputError(f"{where}: gives no training loader; expected (train, test)")
    caps = caps or Caps()
    if test is None and caps.test.most is not None:
        raise UsageError(f"{where}: test is given, and there is no test split; leave it out")
    if is_dataset(train) and (test is None or is_dataset(test)):
        return unused.from_columns(*of_datasets(train, test, where, caps, unused))
    readers = BatchReader(where, unused), BatchReader(where, unused)
    held = _held(train, where, cache_limit, readers[0], caps.train)
    tested = None if test is None else _held(test, where, cache_limit, readers[1], caps.test)
    if tested is not None and readers[0].its_own != readers[1].its_own:
        with_none, with_some = ("training", "test") if readers[0].its_own else ("test", "training")
        raise InputError(
            f"{where}: the {with_none} loader has no targets, the {with_some} loader has; expected them of both, or of "
            "neither"
        )
    return RawData(held, tested, own=True, its_own=readers[0].its_own)


def _pair(returned: Any, where: str) -> tuple[Any, Any]:
    if isinstance(returned, Mapping):
        return returned.get("train"), returned.get("test")
    if isinstance(returned, tuple) or (isinstance(returned, list) and not _is_loader(returned)):
        if len(returned) != 2:
            raise InputError(f"{where}: returns {len(returned)} things; expected a training and a test loader")
        return returned[0], returned[1]
    return returned, None


def _is_loader(batches: list[Any]) -> bool:
    """Say whether a list holds batches, rather than loaders."""
    first = batches[0] if batches else None
    if isinstance(first, (Tensor, Mapping)):
        return True
    return isinstance(first, (tuple, list)) and _is_batch(first)


def _is_batch(batch: Sequence[Any]) -> bool:
    """Say whether a tuple is a batch, rather than a list of batches."""
    return any(isinstance(part, Tensor) for part in batch)


def _held(loader: Any, where: str, cache_limit: int, reader: BatchReader, cap: Cap) -> Source:
    """Return a loader's samples as one batch; as batches where these cannot be joined; else the loader."""
    ordered, left = _ordered(loader, cap, where)
    batches: Iterable[Batch] = _Batches(ordered, where, reader)
    if left.most is not None:
        batches = Chosen(batches, left)
    held: list[Batch] = []
    size = 0
    for inputs, targets in batches:
        held.append((mapped(torch.clone, inputs), targets.clone()))  # the loader may fill the same buffers again
        size += sum(tensor.nbytes for _, tensor in named_tensors(inputs))
        if size > cache_limit:
            return batches
    if not held:
        raise InputError(f"{where}: a loader gives no samples, or can be gone through only once")
    with guarded_call(f"{where}: its batches cannot be joined"):
        if not alike(where, held):
            return held
        return concatenated([inputs for inputs, _ in held]), torch.cat([targets for _, targets in held])


def _ordered(loader: Any, cap: Cap, where: str) -> tuple[Any, Cap]:
    """Return a loader in its order, and the cap that is left to do: what has numbered samples reads no others."""
    if isinstance(loader, Split):
        rows = cap.rows(len(loader))
        return _OfSplit(loader if rows is None else loader.sample(len(rows), cap.seed)), Cap()
    if hasattr(loader, "set_transform"):  # of the library datasets, with code of its own to be run on each sample
        loader = DataLoader(loader, batch_size=_BATCH)
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        chosen, left = _chosen(loader, cap, where)
        return DataLoader(chosen, batch_size=_BATCH), left
    if (
        not isinstance(loader, DataLoader)
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
    ):
        return loader, cap
    chosen, left = _chosen(loader.dataset, cap, where)
    sampler = BatchSampler(SequentialSampler(chosen), loader.batch_size or _BATCH, drop_last=False)  # type: ignore[arg-type]
    return DataLoader(chosen, batch_sampler=sampler, num_workers=loader.num_workers, collate_fn=loader.collate_fn), left


def _chosen(dataset: Dataset[Any], cap: Cap, where: str) -> tuple[Dataset[Any], Cap]:
    """Return the samples of a data set that are taken; all, and the cap, where it has no length."""
    if cap.most is None:
        return dataset, cap
    with guarded_call(f"{where}: has no length"):
        size = len(dataset)  # type: ignore[arg-type]
    rows = cap.rows(size)
    return dataset if rows is None else Subset(dataset, rows.tolist()), Cap()


class _OfSplit:
    def __init__(self, split: Split) -> None:
        self._split = split

    def __iter__(self) -> Iterator[Batch]:
        return self._split.batches(_BATCH)


class _Batches:
    """A loader that can be gone through again, its batches checked to be (inputs, targets)."""

    def __init__(self, loader: Any, where: str, reader: BatchReader) -> None:
        if isinstance(loader, (Tensor, Mapping)):
            raise InputError(f"{where}: gives a {type(loader).__name__} as a loader; one batch is [(inputs, targets)]")
        if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
            raise InputError(f"{where}: gives a {type(loader).__name__}; expected a loader that can be iterated again")
        self._loader: Any = loader
        self._where = where
        self._reader = reader
        self._said = False

    def __iter__(self) -> Iterator[Batch]:
        """Yield as many batches as the loader says it has; without a length, those of `_MOST_SAMPLES` at most."""
        length, samples = self._length(), 0
        for number, given in enumerate(guarded_batches(self._loader, self._where)):
            if number == length:
                self._say_longer(length)
                return
            batch = self._reader.read(given, number)
            _require_memory(batch, self._where)
            samples += max(1, len(batch[1]))  # an empty one counts too, since they may come without end as well
            if length is None and samples > _MOST_SAMPLES:
                raise InputError(
                    f"{self._where}: gives more than {_MOST_SAMPLES} samples and does not end; expected a loader that "
                    "ends, or one with a length"
                )
            yield batch

    def _length(self) -> int | None:
        """Return the batches that the loader says it has; None where it says nothing, or 0."""
        if isinstance(self._loader, DataLoader) and isinstance(self._loader.dataset, IterableDataset):
            return None  # a guess, which PyTorch itself does not hold it to
        with guarded_call(f"{self._where}: has no length"), contextlib.suppress(TypeError, NotImplementedError):
            return len(self._loader) or None
        return None

    def _say_longer(self, length: int) -> None:
        if not self._said:
            self._said = True
            warnings.warn(
                f"{self._where}: gives more than the {length} batches of its length; the first {length} are taken",
                stacklevel=2,
            )


def _require_memory(batch: Batch, where: str) -> None:
    """Refuse tensors that are larger than the memory they are to be copied to."""
    for _, tensor in named_tensors(batch):
        if tensor.nbytes > tensor.untyped_storage().nbytes():  # expanded: it takes no memory until it is copied
            require_memory(tensor.nbytes, f"{where}: a batch of shape {tuple(tensor.shape)}", "give smaller batches")
