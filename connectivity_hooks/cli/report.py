"""``connectivity-hooks report DIR``: report.html once more, from report.json and evaluation.csv."""

from __future__ import annotations

import pathlib

import click

from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.reports.html import write_html
from connectivity_hooks.reports.report import load_saved


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="DIR", type=click.Path(path_type=pathlib.Path))
@plugin_options
def command(folder: pathlib.Path) -> None:
    """Make DIR/report.html again from DIR/report.json and DIR/evaluation.csv."""
    write_html(load_saved(folder), folder / "report.html")
    click.echo(f"Report: {folder / 'report.html'}")
