"""What makes channels and positions into neurons, channel by channel."""

from __future__ import annotations

import math

from connectivity_hooks.structure.operations.call import Call, axes_of
from connectivity_hooks.structure.program import Step


def flatten(call: Call) -> Step | None:
    """Recognise a reshape of (N, C, …) into (N, C·…)."""
    read = call.only_value
    if read is None or not axes_of(read):
        return None
    after, before = call.node.meta["val"].shape, read.meta["val"].shape
    keeps_rows = len(after) == 2 and after[0] == before[0] == call.batch
    if not keeps_rows or after[1] != math.prod(before[1:]):
        return None
    return call.known("flatten", lambda x, w: x[0].flatten(1))
