"""Entry points of the two programs, and what ends them with which exit status.

0 done; 1 an error of ours; 2 wrong usage; 3 input refused, code and plugins that fail included;
4 a condition or limit not met; 130 and 143 interrupted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

import click

from connectivity_hooks.cli import descriptors, interruption
from connectivity_hooks.cli.given_once import options_once
from connectivity_hooks.cli.terminal import say_error
from connectivity_hooks.errors import ConnectivityError, InputError, UsageError, near_matches, one_line
from connectivity_hooks.untrusted import require_utf8

_STATUS: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((UsageError,), 2),
    ((InputError,), 3),
    ((ConnectivityError, OSError), 1),
    ((click.Abort, KeyboardInterrupt), 130),
    ((interruption.Terminated,), 143),
)
StatusOf: TypeAlias = Callable[[str, Callable[[], click.Command], Sequence[str]], int]

_ENDED = {130: "interrupted", 143: "terminated"}
_KEPT = "what was finished is kept in --out, where one was given"


def main() -> NoReturn:
    """Run ``connectivity-hooks``."""
    _run("connectivity-hooks", _group)


def main_of_several() -> NoReturn:
    """Run ``connectivity-hooks`` as one of the processes that ``torchrun`` started, if it did."""
    if os.environ.get("WORLD_SIZE", "1").strip() in ("", "1"):  # nothing is imported to find out that it is alone
        main()
    _run("connectivity-hooks", _group, exit_status_of_several)


def _group() -> click.Command:
    from connectivity_hooks.cli.group import group

    return group


def connect() -> NoReturn:
    """Run ``connect``."""

    def command() -> click.Command:
        from connectivity_hooks.cli.connect import command

        return command

    _run("connect", command)


def _run(program: str, command: Callable[[], click.Command], status_of: StatusOf | None = None) -> NoReturn:
    descriptors.open_missing()
    arguments = sys.argv[1:]

    def listening() -> click.Command:
        interruption.listen()
        _block_plugins(arguments)
        return command()

    status = (status_of or exit_status)(program, listening, arguments)
    interruption.ignore()
    descriptors.silence()
    sys.exit(status)


def exit_status(program: str, command: Callable[[], click.Command], arguments: Sequence[str]) -> int:
    """Run a command and return its exit status; errors are said in one line on stderr."""
    try:
        return _ran(program, command, arguments)
    except BaseException as error:
        return _ended_by(error)


def exit_status_of_several(program: str, command: Callable[[], click.Command], arguments: Sequence[str]) -> int:
    """Do the same as one of several processes: the first that fails says why, and all end with its status."""
    from connectivity_hooks.cli.several import status_of_several

    return status_of_several(lambda: _ran(program, command, arguments), _ended_by)


def _ran(program: str, command: Callable[[], click.Command], arguments: Sequence[str]) -> int:
    for argument in arguments:
        require_utf8(argument, "argument")
    result = options_once(command()).main(list(arguments), program, standalone_mode=False)
    with contextlib.suppress(ValueError):  # code that was run closed it
        sys.stdout.flush()
    return int(result or 0)


def _ended_by(error: BaseException) -> int:
    """Say why the program ends, and return its exit status."""
    raised = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error  # click's own of Ctrl-C
    kept = vars(raised).get("kept", _KEPT)  # the output folder says what is in it
    error = interruption.cause_of(error)
    if isinstance(error, (SystemExit, GeneratorExit)):  # no command of ours ends so
        return _say(f"code that was called ended the program{_place(error)}: {one_line(error)}; let it raise", 3)
    if isinstance(error, click.ClickException):
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    for kinds, status in _STATUS:
        if isinstance(error, kinds):
            return _say(f"{_ENDED[status]}; {kept}" if status in _ENDED else error, status)
    if type(error).__name__ == "OutOfMemoryError":
        return _say(f"out of device memory: {error}; try a smaller --batch-size", 1)
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    return 1


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _say(message: object, status: int) -> int:
    say_error(str(message))
    return status


def _block_plugins(arguments: Sequence[str]) -> None:
    """Read ``--no-plugins`` and ``--block`` before anything else: they decide which other options there are.

    Raises:
        UsageError: No plugin has the name, which would then be left in.
    """
    from connectivity_hooks.registry.registry import BLOCKED

    names = [value.removeprefix("--block=") for value in arguments if value.startswith("--block=")]
    names += [after for flag, after in itertools.pairwise(arguments) if flag == "--block"]
    if names:
        _require_installed(names)
    if "--no-plugins" in arguments:
        os.environ[BLOCKED] = "1"
    elif names:
        os.environ[BLOCKED] = ",".join([*filter(None, os.environ.get(BLOCKED, "").split(",")), *names])


def _require_installed(names: Sequence[str]) -> None:
    from connectivity_hooks.registry.loading import installed

    known = {entry.name for entry in installed()}
    for name in (each.strip() for given in names for each in given.split(",")):
        if name not in known:
            raise UsageError(f"--block {name}: no plugin of that name is installed; {near_matches(name, known)}")
