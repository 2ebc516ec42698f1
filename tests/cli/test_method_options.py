"""Flags of the options of every installed method: read, checked while parsing, and refused where they do nothing."""

from dataclasses import dataclass

import click
import pytest

from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options, single
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.contracts.options import option
from connectivity_hooks.errors import UsageError
from connectivity_hooks.progress import SILENT


@dataclass(frozen=True)
class Options:
    most_of: int = option(3, "How many.", ge=1)
    rate: float | None = option(None, "How fast.", gt=0)


class Two(Method):
    """A method."""

    name = "two-words"
    Options = Options


def test_a_method_is_made_of_its_own_flags_alone():
    given = {
        "two_words__option__most_of": "7",
        "two_words__option__rate": None,
        "other__option__most_of": "9",
        "seed": 5,
    }
    made = make_method(Two, given, seed=4, progress=SILENT)
    assert made.used_options() == {"most_of": 7, "rate": None, "seed": 4}


def test_options_of_a_method_that_is_not_used_are_refused():
    given = {"two_words__option__rate": "0.5", "points": 3}
    refuse_stray_options(given, ["two-words"])
    with pytest.raises(UsageError, match=r"--two-words\.rate is given, but two-words is not used; chosen: linear"):
        refuse_stray_options(given, ["linear"])
    with pytest.raises(UsageError, match=r"two-words is not used; choose two-words, or leave it out$"):
        refuse_stray_options(given, [])


def test_none_is_no_method():
    assert single(None, "none", "batch-norm") == ["batch-norm"]


@click.command(cls=method_command("corrections"))
@click.argument("path")
@click.option("--points", help="How many.")
def command(path, **given):
    """Do it."""


def test_options_have_a_section_for_each_method_and_arguments_are_none_of_them():
    text = command.get_help(click.Context(command, info_name="command"))
    options, _, methods = text.partition("Options of batch-norm:")
    assert "--batch-norm.samples INT" in methods
    assert "--points" in options
    assert "PATH" not in options.partition("Options:")[2].upper().split()


def test_a_value_beyond_the_bounds_ends_the_parsing():
    with pytest.raises(UsageError, match=r"--batch-norm\.samples: expected int ≥ 2"):
        command.make_context("command", ["p", "--batch-norm.samples", "1"])
