"""A library's model without its weights: of what size is it, before it takes any memory?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from connectivity_hooks.checkpoints import Checkpoint, require_outlines
from connectivity_hooks.errors import ConnectivityError, InputError
from connectivity_hooks.memory import require_memory
from connectivity_hooks.registry import registry
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.references import Reference, parse

# A constructor may make a parameter anew, a head say, and heads that a file lacks: twice, and a few.
_SPARE_PARAMETERS = 1000
# Far above the models of any library; without checkpoints nothing else says that a model never ends.
_MOST_PARAMETERS = 200_000
# Some numbers are no tensor's length: the base of rotary embeddings is the largest of them, at most this.
_NO_LENGTH = 10**7


def check_size(spec: str, checkpoints: Sequence[Checkpoint]) -> None:
    """Compare a library's model with checkpoints and with memory, before it is made.

    Its name and arguments may come from a file and ask for a model of any size; so it is made on the meta device, where
    weights have shapes and take no memory. Nothing is known so of a model made by code of the user's own, which is as
    large as its author wants it, and of the few whose constructors need the values they make; they pass.

    Raises:
        InputError: Names or shapes are not those of the checkpoints, or the model is larger than memory.
        UsageError: The library has no such model.
    """
    reference = parse(spec)
    if reference.home not in registry().adapters:
        return
    sizes = [sum(tensor.numel() for tensor in checkpoint.outline.values()) for checkpoint in checkpoints]
    if sizes:
        _check_numbers(reference, max(sizes))
    most = max((2 * len(one.outline) + _SPARE_PARAMETERS for one in checkpoints), default=_MOST_PARAMETERS)
    model = _skeleton(reference, most)
    if model is not None:
        require_outlines(checkpoints, model)
        needed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        require_memory(needed, spec, "name a smaller model")


def _check_numbers(reference: Reference, values: int) -> None:
    """Refuse a length that no tensor of the checkpoint can have; a depth of 10^9 would never be made."""
    for name, argument in reference.arguments.items():
        largest = max(_integers(argument), default=0)
        if largest > max(values, _NO_LENGTH):
            raise InputError(
                f"{reference.home}:{reference.name}: {name} is {largest}, and the checkpoint has {values} values in "
                "all; say --model as it was trained"
            )


def _integers(argument: object) -> Iterator[int]:
    if isinstance(argument, int):
        yield argument
    elif isinstance(argument, Mapping):
        yield from _integers(list(argument.values()))
    elif isinstance(argument, Iterable) and not isinstance(argument, str):
        for part in argument:
            yield from _integers(part)


def _skeleton(reference: Reference, most: int) -> nn.Module | None:
    """Return the model on the meta device; None where it cannot be made there."""
    try:
        with torch.random.fork_rng(), torch.device("meta"), _at_most(most, reference), guarded_call(reference.home):
            return registry().adapter(reference.home).create(reference.name, reference.arguments)
    except _TooMany:
        raise
    except InputError:
        return None  # with values it may be made all the same; if not, its own words are better


class _TooMany(InputError):
    """More parameters than the checkpoint can have."""


@contextlib.contextmanager
def _at_most(most: int, reference: Reference) -> Iterator[None]:
    """End the making of a model that has more than `most` parameters; one may ask for blocks without end."""
    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal made
        made += 1
        if made > most:
            raise MemoryError  # ends the constructor, whatever an adapter makes of it

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    except (ConnectivityError, MemoryError):
        if made > most:
            raise _TooMany(
                f"{reference.home}:{reference.name}: has more than {most} parameters, more than the checkpoint can "
                "have; say --model as it was trained"
            ) from None
        raise
    finally:
        handle.remove()
