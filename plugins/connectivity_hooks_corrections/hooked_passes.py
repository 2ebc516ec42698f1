"""Passes in which the modules of a model run as they are, so that what is hooked into them is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what torch.compile made of a module, or of a part of it, as it was written.

    Compiled code knows nothing of hooks that were not there when it was compiled. Nothing is imported where nothing can
    have been compiled: the compiler takes seconds.
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def modules_run() -> Iterator[None]:
    """Run modules as they were written, those in PyTorch's transformer layers too, which have a fast path without."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
