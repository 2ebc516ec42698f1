"""A folder that ``save_to_disk`` of the library datasets wrote: of one data set, or of one for each split.

Its tables are read as Arrow's, and nothing of it is run, looked up or downloaded: images are those that lie in it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from connectivity_hooks.contracts.tokenizer import Tokenizer
from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks.model.batches import LABELS, Batch, read_batch
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.data import dataset_tables
from connectivity_hooks.tasks.data.caps import Caps, caps_of
from connectivity_hooks.tasks.data.columns import NoTensor, Ragged, images, is_image, is_text, numbers, texts
from connectivity_hooks.tasks.data.dataset_tables import EXPECTED, REMEDY, Table, splits_of, taken, target_of
from connectivity_hooks.tasks.data.left_out import LeftOut
from connectivity_hooks.tasks.data.raw import RawData
from connectivity_hooks.tasks.data.spec import DataSpec
from connectivity_hooks.tasks.data.tokenizers import OPTION, pad_token, tokenizer_for
from connectivity_hooks.tasks.loss import IGNORED
from connectivity_hooks.untrusted import guarded

OPTIONS = (*dataset_tables.OPTIONS, "text", "length", OPTION)
MASK, TOKENS = "attention_mask", "input_ids"

Tensors = dict[str, "Tensor | Ragged"]


def load(
    spec: DataSpec,
    image_size: int | None,
    folders: Sequence[pathlib.Path],
    unused: LeftOut,
    say: Callable[[str], object],
) -> tuple[RawData, str | None]:
    """Return the columns of both splits by name, and the name of the column that is the input of a model of one.

    Columns that are no tensors, and those that the model does not take, are left out and said. Sequences of unequal
    lengths are filled up, the same in both splits, with an ``attention_mask``; labels with `IGNORED`.

    Args:
        spec: ``FOLDER``, and perhaps ``train_split=``, ``test_split=``, ``target=`` or ``text=`` a column, ``length=``
            the longest sequence, ``tokenizer=FOLDER`` for texts; and caps.
        image_size: See `folder.load`.
        folders: Of the checkpoints, where their tokenizer lies.
        unused: Says which columns the model does not take.
        say: Told in a line what is left out, drawn or filled up.

    Raises:
        InputError: The folder is damaged, a split has no samples or no such columns, or images cannot be read.
        UsageError: An option names no split or column.
    """
    spec.require_known(OPTIONS)
    caps, folder = caps_of(spec, say), pathlib.Path(spec.body)
    with guarded(folder, EXPECTED, REMEDY):
        train, test = splits_of(spec, folder, say)
        if test is None and "test" in spec.options:
            raise UsageError(f"--data {spec.typed}: test is given, and there is no test split; leave it out")
        return _of_tables(train, test, caps, _Columns(spec, image_size, folders, unused, say))


def is_dataset(thing: object) -> bool:
    """Say whether a thing is a data set of the library, whose samples are its columns as they are stored."""
    of_library = type(thing).__module__.partition(".")[0] == "datasets" and hasattr(thing, "with_format")
    return of_library and hasattr(thing, "data") and getattr(thing, "format", {}).get("type") != "custom"


def of_datasets(train: Any, test: Any, where: str, caps: Caps, unused: LeftOut) -> tuple[RawData, str | None]:
    """Return the columns of data sets of the library, as `load` does those of a folder."""
    with guarded_call(where):
        reader = _Columns(DataSpec(where, where, {}), None, (), unused, unused.say)
        tested = None if test is None else _table_of(test, "test")
        return _of_tables(_table_of(train, "train"), tested, caps, reader)


def _table_of(dataset: Any, name: str) -> Table:
    wanted = dataset.format["columns"]
    return Table(name, dataset.with_format("arrow", columns=wanted)[:], dataset.features.to_dict())


def _of_tables(train: Table, test: Table | None, caps: Caps, reader: _Columns) -> tuple[RawData, str | None]:
    found = [reader.tensors(taken(train, caps.train))]
    if test is not None:
        found.append(reader.tensors(taken(test, caps.test)))
    batches = reader.batches(found)
    main = reader.pictures[0] if len(reader.pictures) == 1 else TOKENS
    tested = batches[1] if test is not None else None
    return RawData(batches[0], tested, own=True, its_own=LABELS not in found[0]), main


class _Columns:
    """Reads the columns of the splits of one folder."""

    def __init__(
        self,
        spec: DataSpec,
        image_size: int | None,
        folders: Sequence[pathlib.Path],
        unused: LeftOut,
        say: Callable[[str], object],
    ) -> None:
        self._spec = spec
        self._image_size = image_size
        self._folders = folders
        self._unused = unused
        self._say = say
        self._said: set[str] = set()
        self.pictures: list[str] = []

    def tensors(self, table: Table) -> Tensors:
        """Return the columns of a split that a model can be run on, targets as ``labels``."""
        where = f"{self._spec.body}: {table.name}"
        names = list(table.columns.column_names)
        target = target_of(self._spec, names)
        inputs = [name for name in names if name != target]
        text = self._text(table, inputs)
        left_out = set(self._unused(dict.fromkeys(name for name in inputs if name != text)))
        found: Tensors = {}
        for name in inputs:
            if name == text:
                found[TOKENS] = self._tokens(table, name)
            elif name not in left_out:
                self._read(table, name, where, found)
        if target is not None:
            try:
                found[LABELS] = numbers(table.columns[target])
            except NoTensor as reason:
                raise InputError(f"{where}: the targets {target!r}: {reason}; expected numbers") from None
        return found

    def _read(self, table: Table, name: str, where: str, found: Tensors) -> None:
        column = table.columns[name]
        try:
            if is_image(column, table.features.get(name)):
                found[name] = images(column, f"{where}: {name}", self._image_size)
                self.pictures = list(dict.fromkeys([*self.pictures, name]))
            elif is_text(column):
                raise NoTensor("texts")
            else:
                found[name] = numbers(column)
        except NoTensor as reason:
            self._say_once(f"{self._spec.body}: column {name!r} left out: {reason}")

    def _text(self, table: Table, inputs: Sequence[str]) -> str | None:
        """Return the column of texts to tokenise; None where there are tokens already."""
        named = self._spec.text("text")
        if named is not None:
            if named not in inputs or not is_text(table.columns[named]):
                found = [name for name in inputs if is_text(table.columns[name])]
                raise UsageError(
                    f"--data {self._spec.typed}: no column of texts {named!r}; {near_matches(named, found)}"
                )
            return named
        columns = [name for name in inputs if is_text(table.columns[name])]
        others = [name for name in inputs if is_image(table.columns[name], table.features.get(name))]
        return columns[0] if len(columns) == 1 and TOKENS not in inputs and not others else None

    def _tokens(self, table: Table, name: str) -> Ragged | Tensor:
        tokenizer: Tokenizer = tokenizer_for(self._spec, self._folders)
        parts = [tokenizer.encode_whole(text) for text in texts(table.columns[name])]
        lengths = torch.tensor([len(part) for part in parts]).numpy()
        values = torch.tensor([token for part in parts for token in part], dtype=torch.int64).numpy()
        self._say_once(f"{self._spec.body}: column {name!r} is tokenised")
        return Ragged(values, lengths)

    def batches(self, splits: Sequence[Tensors]) -> list[Batch]:
        """Return the splits with their sequences filled up to one length."""
        longest = self._spec.count("length")
        if longest is not None:
            splits = [{name: _cut(value, longest) for name, value in split.items()} for split in splits]
        lengths = {
            name: max(_length(split[name]) for split in splits if name in split)
            for name in dict.fromkeys(name for split in splits for name in split)
            if any(isinstance(split.get(name), Ragged) for split in splits)
        }
        masked = next((name for name in (TOKENS, *lengths) if name in lengths and name != LABELS), None)
        fill = pad_token(self._spec, self._folders) if TOKENS in lengths else 0
        if masked is not None:
            with_what = f" with token {fill}" if masked == TOKENS else ""
            self._say_once(f"{self._spec.body}: {masked!r} is filled up to {lengths[masked]}{with_what}, and masked")
        return [self._batch(split, lengths, masked, fill) for split in splits]

    def _batch(self, split: Tensors, lengths: Mapping[str, int], masked: str | None, fill: int) -> Batch:
        fills = {TOKENS: fill, LABELS: IGNORED}
        found: dict[str, Tensor] = {}
        for name, value in split.items():
            whole = _as_ragged(value) if name in lengths else value
            if isinstance(whole, Ragged):
                found[name] = whole.padded(lengths[name], fills.get(name, 0), f"{self._spec.body}: {name}")
                if name == masked and MASK not in split:
                    found[MASK] = torch.from_numpy(whole.inside(lengths[name])).long()
            else:
                found[name] = whole
        if not found.keys() - {LABELS}:
            raise InputError(
                f"{self._spec.body}: has no column that a model can be run on; expected numbers, lists or images"
            )
        alone = next(iter(found.values())) if len(found) == 1 else found
        return read_batch(alone if LABELS not in found else found, self._spec.body)

    def _say_once(self, note: str) -> None:
        if note not in self._said:
            self._said.add(note)
            self._say(note)


def _cut(value: Tensor | Ragged, most: int) -> Tensor | Ragged:
    if isinstance(value, Ragged):
        return value.cut(most)
    return value[:, :most] if value.ndim == 2 and not value.is_floating_point() else value


def _length(value: Tensor | Ragged) -> int:
    return int(value.lengths.max()) if isinstance(value, Ragged) else value.shape[1]


def _as_ragged(value: Tensor | Ragged) -> Ragged:
    if isinstance(value, Ragged):
        return value
    return Ragged(value.flatten().numpy(), torch.full((len(value),), value.shape[1]).numpy())
