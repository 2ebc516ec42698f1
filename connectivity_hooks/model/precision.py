"""Running a module in float64 throughout, also where its own code asks for float32.

Many a norm, softmax or table of rotary angles is computed in float32 whatever the weights are (``x.float()``,
``softmax(dtype=torch.float32)``). Two networks of one function then differ by 1e-7, which hides whether they are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_WIDE = {
    torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64,
    torch.complex32: torch.complex128, torch.complex64: torch.complex128,
}  # fmt: skip


@contextmanager
def in_double() -> Iterator[None]:
    """Give float64 inside the block to whoever asks PyTorch for a narrower type, on this thread.

    For a module whose weights and inputs are float64 already: those that are narrower stay so.
    """
    with _Widening():  # type: ignore[no-untyped-call]
        yield


class _Widening(TorchDispatchMode):
    """Answers casts to narrower types, and makes tensors from nothing, in float64.

    Only types given by name are casts: ``x.view(dtype)``, the bytes seen as other numbers, has its own by position.
    Operations that run functions, as ``torch.cond`` its branches, pass; casts inside these stay what they are.
    """

    supports_higher_order_operators = True

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = {name: _WIDE.get(given, given) if isinstance(given, torch.dtype) else given
                 for name, given in (kwargs or {}).items()}  # fmt: skip
        found = func(*args, **named)
        return _widened(found) if _makes(func, args, named) else found


def _makes(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Say whether an operation's tensors are new: made from sizes, or from Python's numbers."""
    if func is torch.ops.aten.lift_fresh.default:
        return True
    return not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((args, named)))


def _widened(found: Any) -> Any:
    return found.to(_WIDE.get(found.dtype, found.dtype)) if isinstance(found, Tensor) else found
