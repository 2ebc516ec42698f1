"""``connectivity-hooks graph A B C …``: what is connected with what."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from connectivity_hooks.checkpoints import make_folder, read
from connectivity_hooks.cli.toolkit import (
    Display,
    Number,
    OutputFolder,
    Seed,
    augment_option,
    json_option,
    make_method,
    measuring,
    measuring_options,
    method_command,
    plain,
    plugin_options,
    print_json,
    refuse_stray_options,
    require_shardable,
    shard_option,
    single,
    task_flags,
    task_of,
    task_options,
    terminal_width,
)
from connectivity_hooks.connecting import Connecting
from connectivity_hooks.errors import UsageError
from connectivity_hooks.registry import registry
from connectivity_hooks_averaging.graphs.graph import Edging, graph_of, require_two, share_of_graph
from connectivity_hooks_averaging.graphs.pages import content_of_graph, write_graph
from connectivity_hooks_averaging.set import read_set
from connectivity_hooks_averaging.table import edges_table

EXAMPLES = """
\b
Examples:
  connectivity-hooks graph run*/last.safetensors --out graph --model net.py:make --data mnist.npz
  connectivity-hooks graph *.safetensors --tree --builder autoneb --out graph --model net.py:make --data mnist.npz
"""


@click.command(
    cls=method_command("builders", "aligners", "corrections"),
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="A B C …")
@task_options
@augment_option
@click.option(
    "--builder", default="linear", show_default=True, metavar="NAME", help="How a path between two checkpoints is made."
)
@click.option("--align", metavar="NAME", help="Replace the second of two by its nearest that is equal as a function.")
@click.option(
    "--tree",
    is_flag=True,
    help="Build only along the minimum spanning tree of the straight lines' barriers: K - 1 paths.",
)
@click.option(
    "--threshold",
    type=Number(),
    metavar="X",
    help="Largest barrier of the training loss that connects; left out, 2 % of what guessing costs or 5 % of the "
    "lowest loss, whichever is more.",
)
@measuring_options
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    required=True,
    metavar="DIR",
    help="Write the report here; pairs measured there before are kept.",
)
@click.option("--keep-paths", is_flag=True, help="Keep the path of every edge too.")
@json_option
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Seed of every random choice.")
@shard_option("pairs are dealt out. Then the same command without --shard.")
@plugin_options
def command(checkpoints: Sequence[str], out: pathlib.Path, **given: Any) -> None:
    """Say which checkpoints are connected: the barrier between every two, and the components at a threshold.

    Every two are connected by the builder, and the path is measured; with --tree the straight line between every two,
    and the builder's path along the minimum spanning tree alone. A run that was killed goes on where it stopped.
    """
    require_shardable({**given, "out": out})
    display = Display(quiet=given["as_json"])
    how = _edging(given, display)
    ends = [read(file) for file in checkpoints]
    task = task_of(task_flags(given), ends, list(checkpoints))
    found = read_set(checkpoints, task, display)
    require_two(found)
    if given["shard"]:
        make_folder(out)
        share = share_of_graph(found, task, how, out, given["shard"], display)
        _say_share(*share, given)
        return
    with OutputFolder(out) as folder:
        content = content_of_graph(graph_of(found, task, how, folder.path, display))
        write_graph(content, folder.path)
    if given["as_json"]:
        print_json(content)
    else:
        click.echo("\n".join([*map(plain, content["verdict"]), edges_table(content, terminal_width())]))


def _edging(given: Mapping[str, Any], display: Display) -> Edging:
    """Make the methods, before any file is opened."""
    known = registry()
    builder = known.builder(given["builder"])
    aligner = known.aligner(given["align"]) if given["align"] else None
    refuse_stray_options(given, [builder.name, *single(given["align"], given["correct"])])
    how = measuring(given, display)
    if how.points == 2 and how.refine == 0:
        raise UsageError("--points 2 --refine 0: nothing between the ends is measured; give --points 3 or more")
    connecting = Connecting(
        make_method(builder, given, seed=given["seed"], progress=display),
        make_method(aligner, given, seed=given["seed"], progress=display) if aligner else None,
        how,
    )
    return Edging(connecting, given["tree"], given["keep_paths"], given["threshold"])


def _say_share(done: int, more: bool, given: Mapping[str, Any]) -> None:
    shard = given["shard"]
    if given["as_json"]:
        print_json({"shard": str(shard), "pairs": done, "again": more})
        return
    click.echo(f"shard {shard}: {done} pairs are done")
    if more:
        click.echo("When all shards are done, run each once more: the paths along the tree follow.")
    else:
        click.echo("When all shards are done, run the same command without --shard.")
