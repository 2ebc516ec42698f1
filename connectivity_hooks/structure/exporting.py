"""A model's torch.export graph, or one line that says what cannot be exported and where."""

from __future__ import annotations

import contextlib
import io
import logging
import pathlib
import types
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from connectivity_hooks.errors import InputError, one_line
from connectivity_hooks.model.inputs import Inputs, mapped
from connectivity_hooks.model.running import Forward

_BRANCHING = ("GuardOnDataDependentSymNode", "data-dependent", "DYNAMIC_CONTROL_FLOW", "Dynamic control flow")
"""Names of one cause in the errors of PyTorch's releases; an error without them is shown as it is."""


_SCRIPTED = "it is compiled by TorchScript (torch.jit), which torch.export cannot follow; give the plain module"

_MODEL = "model"
"""Name of the model inside the module that is exported."""


class _Picking(nn.Module):
    """Gives the one output that a loss reads, so that whatever else a model returns need not be traceable."""

    def __init__(self, model: nn.Module, run: Forward) -> None:
        super().__init__()
        self.training = model.training
        self.model = model
        self._run = run

    def forward(self, inputs: Inputs) -> Tensor:
        return self._run(self.model, inputs)


def export(model: nn.Module, example: Inputs, run: Forward) -> ExportedProgram:
    """Return the graph of `model`, which is in evaluation mode, from its inputs to its picked output.

    The names in it are those of the model behind `own_name`.

    Args:
        model: The model.
        example: Inputs it accepts.
        run: How it is run.

    Raises:
        InputError: torch.export cannot trace the module, or no output can be picked; the message names the innermost
            module and line it was at.
    """
    given = plain(mapped(torch.clone, example))
    try:
        with torch.no_grad(), _silenced():
            return torch.export.export(_Picking(model, run), (given,), strict=False)
    except InputError as error:  # of the picking
        raise InputError(f"{type(model).__name__}: its structure cannot be read: {error}") from None
    except Exception as error:  # torch.export raises whatever the model's own code runs into under tracing
        owner, place = _place(model, error)
        reason = _SCRIPTED if isinstance(owner, torch.jit.ScriptModule) else _reason(error)
        raise InputError(f"{type(model).__name__}: its structure cannot be read: {place}{reason}") from None


def without_writes(exported: ExportedProgram) -> ExportedProgram | None:
    """Return the graph with copies for what it writes in place, nothing else decomposed; None where PyTorch fails."""
    try:
        with torch.no_grad(), _silenced():
            copying: ExportedProgram = exported.run_decompositions({})
            return copying
    except Exception:  # torch.export raises whatever its own passes run into
        return None


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep torch.export's advice, log and half-made graphs off the screen: one line says what there is to say."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def own_name(name: str) -> str:
    """Return the name that the model itself gives a tensor or module; empty for the model."""
    return "" if name == _MODEL else name.removeprefix(f"{_MODEL}.")


def plain(inputs: Inputs) -> Inputs:
    """Return inputs as torch.export takes and flattens them: dicts, tuples, tensors and what is none of these."""
    return mapped(lambda tensor: tensor, inputs)


def leaves(inputs: Inputs) -> list[tuple[str, Any]]:
    """Return (dotted name, leaf) of a model's inputs, in the order of the graph's own placeholders."""
    found, _ = pytree.tree_flatten_with_path(plain(inputs))
    return [
        (".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path), leaf) for path, leaf in found
    ]


def _reason(error: Exception) -> str:
    if any(word in f"{type(error).__name__} {error}" for word in _BRANCHING):
        return "it decides by values it computes (dynamic control flow), which torch.export cannot follow"
    first = str(error).strip().partition("\n")[0]
    return one_line(type(error)(first), 200) if type(error) in (RuntimeError, ValueError) else one_line(error, 200)


def _place(model: nn.Module, error: Exception) -> tuple[nn.Module | None, str]:
    """Return the innermost module of the model that an error passed, and ``NAME (Class, FILE:LINE): `` in words."""
    names = {id(module): name for name, module in model.named_modules()}
    found: nn.Module | None = None
    words = ""
    for frame, line in _frames(error):
        owner = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
        if isinstance(owner, nn.Module) and id(owner) in names and "torch/nn/modules/module" not in _posix(frame):
            at = "" if isinstance(owner, torch.jit.ScriptModule) else f", {pathlib.Path(_posix(frame)).name}:{line}"
            found, words = owner, f"{names[id(owner)] or 'its forward'} ({type(owner).__name__}{at}): "
    return found, words


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
