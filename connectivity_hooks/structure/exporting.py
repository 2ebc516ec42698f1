"""A model's torch.export graph, or one line that says what cannot be exported and where."""

from __future__ import annotations

import pathlib
import types
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from connectivity_hooks.errors import InputError, one_line

_BRANCHING = ("GuardOnDataDependentSymNode", "data-dependent", "DYNAMIC_CONTROL_FLOW", "Dynamic control flow")
"""Names of one cause in the errors of PyTorch's releases; an error without them is shown as it is."""


def export(model: nn.Module, example: Tensor) -> ExportedProgram:
    """Return the graph of `model`, which is in evaluation mode.

    Raises:
        InputError: torch.export cannot trace the module; the message names the innermost module and line it was at.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on how the model's code should be changed
            return torch.export.export(model, (example.clone(),), strict=False)
    except Exception as error:  # torch.export raises whatever the model's own code runs into under tracing
        place = _place(model, error)
        raise InputError(f"{type(model).__name__}: its structure cannot be read: {place}{_reason(error)}") from None


def _reason(error: Exception) -> str:
    if any(word in f"{type(error).__name__} {error}" for word in _BRANCHING):
        return "it decides by values it computes (dynamic control flow), which torch.export cannot follow"
    first = str(error).strip().partition("\n")[0]
    return one_line(type(error)(first), 200) if type(error) in (RuntimeError, ValueError) else one_line(error, 200)


def _place(model: nn.Module, error: Exception) -> str:
    """Return ``MODULE (Class, FILE:LINE): `` of the innermost frame that belongs to a module of the model."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    for frame, line in _frames(error):
        owner = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
        if isinstance(owner, nn.Module) and id(owner) in names and "torch/nn/modules/module" not in _posix(frame):
            file = pathlib.Path(frame.f_code.co_filename).name
            found = f"{names[id(owner)] or 'its forward'} ({type(owner).__name__}, {file}:{line}): "
    return found


def _frames(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    """Yield the frames an error passed, and those of the errors it was raised for, which lie deeper."""
    seen: set[int] = set()
    chain: BaseException | None = error
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        trace = chain.__traceback__
        while trace is not None:
            yield trace.tb_frame, trace.tb_lineno
            trace = trace.tb_next
        chain = chain.__cause__ or chain.__context__


def _posix(frame: types.FrameType) -> str:
    return pathlib.Path(frame.f_code.co_filename).as_posix()
