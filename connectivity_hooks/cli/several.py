"""The program as one of several processes: all but the first are quiet, and the one that fails first says why."""

from __future__ import annotations

import os
from collections.abc import Callable

from connectivity_hooks.cli.descriptors import Muted
from connectivity_hooks.team import Team, join


def status_of_several(run: Callable[[], int], ended_by: Callable[[BaseException], int]) -> int:
    """Run a command in this process; return its exit status, which is that of the first to fail where one fails.

    Args:
        run: Runs it, and raises whatever it raises.
        ended_by: Says why it ended, and returns a status.
    """
    try:
        team = join(os.environ)
    except BaseException as error:
        return ended_by(error)
    if team.count == 1:
        return _caught(run, ended_by)
    muted = Muted()
    if not team.is_first:
        muted.put()
    return _status(team, muted, run, ended_by)


def _status(team: Team, muted: Muted, run: Callable[[], int], ended_by: Callable[[BaseException], int]) -> int:
    try:
        status = run()
        team.leave()
        return status
    except BaseException as error:
        mine = team.fails()
        if mine:
            muted.lift()
        else:
            muted.put()
        return team.settled(ended_by(error), mine)


def _caught(run: Callable[[], int], ended_by: Callable[[BaseException], int]) -> int:
    try:
        return run()
    except BaseException as error:
        return ended_by(error)
