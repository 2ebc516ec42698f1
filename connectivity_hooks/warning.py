"""Warnings from inside a user's forward pass or training, which nothing of ours may end."""

from __future__ import annotations

import contextlib
import sys
import warnings


def warn_unraised(message: str) -> None:
    """Warn; where warnings are errors (``python -W error``), or the program's own display fails, write on stderr."""
    try:
        warnings.warn(message, stacklevel=3)
    except Exception:
        with contextlib.suppress(Exception):  # a stderr that is closed or full: there is nowhere left to say it
            sys.stderr.write(f"warning: {message}\n")
