"""Running a model beside its training so that the training never knows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from connectivity_hooks.features.hooks import captures_paused
from connectivity_hooks.model.evaluation_mode import evaluation_mode
from connectivity_hooks.watching.unmoved import generators_kept


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run the block in evaluation mode, and leave everything the training depends on bit for bit as it was.

    Kept are the training flags, the buffers, the random states (torch on every device, numpy, Python, and generators
    that modules hold), the gradient and inference modes and autocast. Inside, autocast is off, so that figures are
    computed in the weights' own type, and compiled modules run uncompiled: other shapes and modes would make them
    compile again in the middle of the training.
    What captures have seen of the training is not mixed with the block's passes.
    """
    with ExitStack() as stack:
        stack.enter_context(random_states_kept(model))
        stack.enter_context(generators_kept(own for module in model.modules() for own in vars(module).values()))
        stack.enter_context(_buffers_kept(model))
        stack.enter_context(captures_paused(model))
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.inference_mode(False))  # turns gradients on as well, for conditions that train
        for kind in {"cpu", *_accelerators(model)}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def random_states_kept(model: nn.Module) -> Iterator[None]:
    """Leave every global random state as it was: torch's on every device, numpy's and Python's."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for kind in _accelerators(model):
            devices = range(torch.get_device_module(kind).device_count())
            stack.enter_context(torch.random.fork_rng(devices=devices, device_type=kind))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for module, name, buffer, value in kept:
            module._buffers[name] = buffer
            if not torch.equal(buffer, value):
                with torch.no_grad():
                    buffer.copy_(value)


def _accelerators(model: nn.Module) -> set[str]:
    kinds = {parameter.device.type for parameter in model.parameters()} - {"cpu", "meta"}
    return kinds | ({"cuda"} if torch.cuda.is_initialized() else set())
