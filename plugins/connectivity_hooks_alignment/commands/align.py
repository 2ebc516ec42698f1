"""``connectivity-hooks align A B C …``: every checkpoint in the frame of the first, and what that does to barriers."""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import click
import torch
from torch import Tensor

from connectivity_hooks.checkpoints import Checkpoint, atomic_text, read, require_outlines, write_tensors
from connectivity_hooks.cli.toolkit import (
    Display,
    OutputFolder,
    Seed,
    json_option,
    make_method,
    measuring,
    measuring_options,
    method_command,
    plain,
    plugin_options,
    print_json,
    refuse_stray_options,
    single,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks.connecting import in_one_type, load_pair
from connectivity_hooks.contracts import Aligner
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model import Weights
from connectivity_hooks.paths import second_end_in_words
from connectivity_hooks.registry import registry
from connectivity_hooks.reports import save_matrix
from connectivity_hooks_alignment.commands.frames import Barriers, Frames, barriers, brought_to_first, brought_together

EXAMPLES = """
\b
Examples:
  connectivity-hooks align run*/last.safetensors --out aligned --model net.py:make --data mnist.npz
  connectivity-hooks align a.safetensors b.safetensors --align activation-matching --out aligned --data photos/
"""


@click.command(
    cls=method_command("aligners", "corrections"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C …")
@task_options
@click.option(
    "--align",
    metavar="NAME",
    help="Bring each checkpoint to the first by this aligner; left out, all are brought together by their weights.",
)
@measuring_options
@click.option(
    "--out", type=click.Path(path_type=pathlib.Path), required=True, metavar="DIR", help="Write the checkpoints here."
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, **given: Any) -> None:
    """Write every checkpoint in the frame of the first: the same function, neurons in the first one's places.

    Of the first the bytes of its tensors stay. Barriers on the straight line between every two are measured before and
    after. The maps between checkpoints agree: from A to B to C is from A to C.
    """
    display = Display(quiet=given["as_json"])
    if len(checkpoints) < 2:
        raise InputError("align: one checkpoint; expected two or more, the first of which gives the frame")
    aligner = _aligner(given, display)
    how = measuring(given, display)
    if how.points == 2 and how.refine == 0:
        raise UsageError("--points 2 --refine 0: nothing between the ends is measured; give --points 3 or more")
    refuse_stray_options(given, single(given["align"], given["correct"]))
    ends = [read(pathlib.Path(file)) for file in checkpoints]
    task = task_of(task_flags(given), ends, list(checkpoints))
    require_outlines(ends, task.structure())
    names = distinct_names(checkpoints)
    _require_others(ends, [out / f"{name}.safetensors" for name in names])
    pairs = in_one_type([load_pair(ends[0], end, task) for end in ends[1:]])
    given_weights = [pairs[0].a, *(pair.b for pair in pairs)]
    with OutputFolder(out) as folder:
        if aligner is None:
            frames = brought_together(given_weights, task, seed=given["seed"], progress=display)
        else:
            frames = brought_to_first(pairs, names, task, aligner, folder.path, display)
        kept = folder.path / MEASURED
        before = barriers(given_weights, task, how, kept, display)
        after = barriers(frames.weights, task, how, kept, display)
        content = _content(names, ends, frames, before, after)
        for name, end, weights, record in zip(names, ends, frames.weights, frames.records, strict=True):
            _write(folder.path / f"{name}.safetensors", end, weights, record)
        _report(folder.path, content)
        shutil.rmtree(kept)
        for work in frames.works:
            work.finish()
    if given["as_json"]:
        print_json(content)
    else:
        click.echo("\n".join([*done_in_words(content), plain_table(content)]))


def _require_others(ends: Sequence[Checkpoint], files: Sequence[pathlib.Path]) -> None:
    """Refuse an output that would be written over a checkpoint that is read."""
    read_from = {end.file.resolve() for end in ends}
    for file in files:
        if file.resolve() in read_from:
            raise InputError(f"{file}: would be written over a checkpoint that is read; choose another --out")


MEASURED = ".measured"
"""Folder of what an interrupted run measured; removed when all is there."""


AGREE = (
    "each checkpoint has one element for each space, which brings it to the first; the map between any two is made of "
    "theirs, so that going from A to B to C is going from A to C"
)
"""What alignment.json says of cycles."""


def _aligner(given: Mapping[str, Any], display: Display) -> Aligner | None:
    if given["align"] is None:
        return None
    made: Aligner = make_method(registry().aligner(given["align"]), given, seed=given["seed"], progress=display)
    return made


def _content(
    names: Sequence[str], ends: Sequence[Checkpoint], frames: Frames, before: Barriers, after: Barriers
) -> dict[str, Any]:
    """Return alignment.json."""
    rows = [
        {"name": name, "file": end.file.name, "sha256": end.sha256, "alignment": record}
        for name, end, record in zip(names, ends, frames.records, strict=True)
    ]
    return {
        "checkpoints": rows,
        "maps": AGREE,
        "barriers": {split: {"before": before[split], "after": after[split]} for split in before},
    }


def _write(file: pathlib.Path, end: Checkpoint, weights: Weights, record: Mapping[str, object] | None) -> None:
    """Write a checkpoint in the types it was stored in, or in wider ones where these do not hold what was computed."""
    stored = dict(weights)
    narrow = {name: tensor.to(_type(end, name, tensor)) for name, tensor in weights.items()}
    if all(torch.equal(narrow[name].to(tensor.dtype), tensor) for name, tensor in weights.items()):
        stored = narrow
    metadata = {**end.metadata, "format": "pt"}
    if record is not None:
        metadata["connectivity_hooks.alignment"] = json.dumps(record)
    write_tensors(file, stored, metadata)


def _type(end: Checkpoint, name: str, tensor: Tensor) -> torch.dtype:
    return end.outline[name].dtype if name in end.outline else tensor.dtype


def _report(folder: pathlib.Path, content: Mapping[str, Any]) -> None:
    atomic_text(folder / "alignment.json", json.dumps(content, indent=1, allow_nan=False))
    names = [row["name"] for row in content["checkpoints"]]
    for split, tables in content["barriers"].items():
        panels = {f"{split}, {when}": table for when, table in tables.items()}
        save_matrix(folder / f"barriers-{split}.svg", names, panels, "barrier on the straight line")


def done_in_words(content: Mapping[str, Any]) -> list[str]:
    """Return what was done to each checkpoint, a sentence each."""
    first, *others = content["checkpoints"]
    return [plain(second_end_in_words(row["alignment"], row["name"], first["name"])) for row in others]


def plain_table(content: Mapping[str, Any]) -> str:
    """Return the barriers of every two checkpoints as text, a line each."""
    names = [row["name"] for row in content["checkpoints"]]
    lines = []
    for one, other in itertools.combinations(range(len(names)), 2):
        figures = [
            f"{split} barrier {tables['before'][one][other]:.4g} before, {tables['after'][one][other]:.4g} after"
            for split, tables in content["barriers"].items()
        ]
        lines.append(plain(f"{names[one]} to {names[other]}: {'; '.join(figures)}"))
    return "\n".join(lines)


def distinct_names(files: Sequence[str]) -> list[str]:
    """Return the stem of each file, with its folder's name or a number where stems are the same."""
    stems = [pathlib.Path(file).stem for file in files]
    longer = [f"{pathlib.Path(file).resolve().parent.name}-{stem}" for file, stem in zip(files, stems, strict=True)]
    for names in (stems, longer):
        if len(set(names)) == len(files):
            return names
    return [f"{number}-{stem}" for number, stem in enumerate(stems)]
