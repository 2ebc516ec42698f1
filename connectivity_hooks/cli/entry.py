"""Entry points of the two programs, and what ends them with which exit status.

0 done; 1 an error of ours; 2 wrong usage; 3 input refused; 4 a condition or limit not met; 130 and 143 interrupted.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import click

from connectivity_hooks.cli.terminal import say_error
from connectivity_hooks.errors import ConnectivityError, InputError, UsageError
from connectivity_hooks.untrusted import require_utf8

NOT_MET = 4


class Terminated(BaseException):
    """SIGTERM arrived; raised so that ``finally`` blocks run."""


def main() -> NoReturn:
    """Run ``connectivity-hooks``."""
    from connectivity_hooks.cli.group import group

    _run("connectivity-hooks", lambda: group)


def connect() -> NoReturn:
    """Run ``connect``."""

    def command() -> click.Command:
        from connectivity_hooks.cli.connect import command

        return command

    _run("connect", command)


def _run(program: str, command: Callable[[], click.Command]) -> NoReturn:
    signal.signal(signal.SIGTERM, _terminate)
    arguments = sys.argv[1:]
    _block_plugins(arguments)
    sys.exit(exit_status(program, command, arguments))


def exit_status(program: str, command: Callable[[], click.Command], arguments: Sequence[str]) -> int:
    """Run a command and return its exit status; errors are said in one line on stderr."""
    try:
        for argument in arguments:
            require_utf8(argument, "argument")
        result = command().main(list(arguments), program, standalone_mode=False)
        sys.stdout.flush()
        return int(result or 0)
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UsageError as error:
        return _say(error, 2)
    except InputError as error:
        return _say(error, 3)
    except (ConnectivityError, OSError) as error:
        return _say(error, 1)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted; what was finished is kept", 130)
    except Terminated:
        return _say("terminated; what was finished is kept", 143)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            return _say(f"out of device memory: {error}; try a smaller --batch-size", 1)
        traceback.print_exc()
        return 1


def _say(message: object, status: int) -> int:
    say_error(str(message))
    return status


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _block_plugins(arguments: Sequence[str]) -> None:
    """Read ``--no-plugins`` and ``--block`` before anything else: they decide which other options there are."""
    from connectivity_hooks.registry.registry import BLOCKED

    names = [value.removeprefix("--block=") for value in arguments if value.startswith("--block=")]
    names += [after for flag, after in itertools.pairwise(arguments) if flag == "--block"]
    if "--no-plugins" in arguments:
        os.environ[BLOCKED] = "1"
    elif names:
        os.environ[BLOCKED] = ",".join([*filter(None, os.environ.get(BLOCKED, "").split(",")), *names])
