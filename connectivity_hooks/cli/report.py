"""``connectivity-hooks report DIR``: the page of a folder once more, from the data beside it."""

from __future__ import annotations

import pathlib

import click

from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.reports.html import write_pages
from connectivity_hooks.reports.report import load_saved
from connectivity_hooks.stability.report import read_content
from connectivity_hooks.stability.report import write_pages as write_stability_pages


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="DIR", type=click.Path(path_type=pathlib.Path))
@plugin_options
def command(folder: pathlib.Path) -> None:
    """Make the page and the picture of DIR again: report.html and report.svg, stability.html and stability.svg.

    From DIR/report.json and DIR/evaluation.csv, and from DIR/stability.json.
    """
    if (folder / "stability.json").exists():
        write_stability_pages(read_content(folder), folder)
        click.echo(f"Report: {folder / 'stability.html'}")
        if not (folder / "report.json").exists():
            return
    write_pages(load_saved(folder), folder)
    click.echo(f"Report: {folder / 'report.html'}")
