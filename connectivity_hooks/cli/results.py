"""What a finished command prints: the answer in words, the figures, and where the report is; or one JSON object."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any, Protocol

import click

from connectivity_hooks.cli.terminal import print_json


class Result(Protocol):
    """What a command found."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        ...

    def table(self) -> str:
        """Return its figures as plain text."""
        ...


class Answer(Protocol):
    """A conclusion in words."""

    @property
    def headline(self) -> str:
        """What the verdict is, in a sentence or two."""
        ...

    @property
    def sentences(self) -> Iterable[str]:
        """What carries it."""
        ...


def show(result: Result, answers: Iterable[Answer], as_json: bool, page: pathlib.Path | None) -> None:
    """Print a result on stdout.

    Args:
        result: What was found.
        answers: Its conclusions, as a person reads them.
        as_json: Print one JSON object and nothing else.
        page: Where the report lies, if one was written.
    """
    if as_json:
        print_json(result.as_json())
        return
    for answer in answers:
        click.echo(answer.headline)
        for sentence in answer.sentences:
            click.echo(f"  {sentence}")
    click.echo(result.table())
    if page:
        click.echo(f"Report: {page}")
