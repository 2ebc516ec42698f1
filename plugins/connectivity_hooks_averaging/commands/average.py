"""``connectivity-hooks average A B C …``: the mean of what is connected."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import click

from connectivity_hooks.checkpoints import read, require_function, require_new, require_target
from connectivity_hooks.cli.toolkit import (
    NOT_MET,
    Display,
    Number,
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
    terminal_width,
)
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.registry import registry
from connectivity_hooks_averaging.soups.average import averaged
from connectivity_hooks_averaging.soups.content import content_of
from connectivity_hooks_averaging.soups.how import GREEDY, UNIFORM, Averaging
from connectivity_hooks_averaging.soups.pages import write_average
from connectivity_hooks_averaging.table import table_of

EXAMPLES = """
\b
Examples:
  connectivity-hooks average run*/last.safetensors --out soup.safetensors --model net.py:make --data mnist.npz
  connectivity-hooks average a/ b/ c/ --method greedy --out soup --data photos/
"""


@click.command(
    cls=method_command("aligners", "corrections"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C …")
@task_options
@click.option(
    "--method",
    type=click.Choice([UNIFORM, GREEDY]),
    default=UNIFORM,
    show_default=True,
    help="The mean of all that are connected; or, best first, of what makes it no worse on training samples held out.",
)
@click.option("--weights", metavar="W,W,…", help="A number above 0 for each checkpoint, for a weighted mean.")
@click.option("--align", metavar="NAME", help="Bring all others into the frame of the first by this aligner.")
@click.option(
    "--threshold",
    type=Number(),
    metavar="X",
    help="Largest barrier of the training loss that connects; left out, 2 % of what guessing costs or 5 % of the "
    "lowest loss, whichever is more.",
)
@click.option(
    "--hold-out", type=Number(), metavar="SHARE", help="Of the training samples, for greedy; 0.1 if left out."
)
@measuring_options
@click.option("--force", is_flag=True, help="Write a mean that is worse than its worst member.")
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="FILE|DIR",
    help="The safetensors file to write, or a new folder as the first checkpoint's library writes it.",
)
@click.option(
    "--report",
    type=click.Path(path_type=pathlib.Path),
    metavar="DIR",
    help="Write the report here, whatever the verdict; left out, beside OUT where that is written. What an interrupted "
    "run measured is kept there.",
)
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, report: pathlib.Path | None, **given: Any) -> int:
    """Average checkpoints that are connected, and say which are not.

    Measures the barrier of the training loss on the straight line between every two, and from the running mean to each
    that is taken in. Averaged is the largest set found in which no barrier is above the threshold; a mean that is worse
    than its worst member is not written. Exit status 4 where nothing is written for one of these reasons.
    """
    display = Display(quiet=given["as_json"])
    how = _averaging(given, display)
    _require_place(out, checkpoints)
    place = report or _beside(out)
    ends = [read(file) for file in checkpoints]
    task = task_of(task_flags(given), ends, list(checkpoints))
    require_function(out, ends[0], task.facts(), task.model_name)  # before anything is measured
    with OutputFolder(place) as folder:
        result = averaged(checkpoints, task, how, place / KEPT, display)
        written = result.may_be_written(force=given["force"])
        content = content_of(result, out if written else None)
        if written:
            result.save(out, force=given["force"])
        if written or report:
            write_average(content, folder.path)
        shutil.rmtree(place / KEPT, ignore_errors=True)
    if not written and not report:
        with contextlib.suppress(OSError):  # an earlier report is in it
            place.rmdir()
    if given["as_json"]:
        print_json(content)
    else:
        click.echo("\n".join([*map(plain, content["verdict"]), table_of(content, terminal_width())]))
    return 0 if written else NOT_MET


KEPT = ".measured"
"""Folder of what an interrupted run measured, inside of the report's; removed when all is there."""


def _beside(out: pathlib.Path) -> pathlib.Path:
    """Return where the report goes if nothing is said."""
    return out.with_name(f"{out.name.removesuffix('.safetensors')}.report")


def _averaging(given: Mapping[str, Any], display: Display) -> Averaging:
    """Make the methods, before any file is opened."""
    refuse_stray_options(given, single(given["align"], given["correct"]))
    aligner = registry().aligner(given["align"]) if given["align"] else None
    return Averaging(
        given["method"],
        _numbers(given["weights"]),
        make_method(aligner, given, seed=given["seed"], progress=display) if aligner else None,
        measuring(given, display),
        given["threshold"],
        given["hold_out"],
        given["seed"],
    )


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"--weights: expected numbers like 1,2,1, found {text!r}") from None


def _require_place(out: pathlib.Path, checkpoints: Sequence[str]) -> None:
    """Refuse, before anything is computed, a place that cannot be written to, or that is read."""
    if out.suffix != ".safetensors":
        require_new(out)
        return
    if out.exists() and any(pathlib.Path(file).exists() and out.samefile(read(file).file) for file in checkpoints):
        raise InputError(f"{out}: would be written over a checkpoint that is read; choose another --out")
    require_target(out)
