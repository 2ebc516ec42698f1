"""A module whose parameters are spread over processes: each holds a part of every one, and so of control points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model import Weights, assign, same, weights_of
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks import Task
from connectivity_hooks.team import Team
from connectivity_hooks_curves.training.blocks import blocks_of
from connectivity_hooks_curves.training.curve import wide
from connectivity_hooks_curves.training.module import FlatModule, Group, Layout
from connectivity_hooks_curves.training.unwritten import Unwritten, written

_DEVICES = ("cpu", "cuda")
"""Those that gloo and NCCL send tensors between."""


class SpreadGroup(Group):
    """What one process holds of parameters of one type, in one vector.

    Args:
        parameters: By name, spread over the processes along their first axis.
        whole: Where they lie in a vector of all of them, as in one process.
        team: The processes.
    """

    def __init__(self, parameters: Mapping[str, DTensor], whole: Layout, team: Team) -> None:
        self._own = {name: _held(parameter) for name, parameter in parameters.items()}
        super().__init__(self._own)
        self._spread, self._whole, self._team = dict(parameters), whole, team

    @torch.no_grad()
    def attach(self) -> None:
        """Let the parameters be the values; no gradients."""
        for own, view in zip(self._own.values(), self._views, strict=True):
            own.copy_(view)
        for parameter in self._spread.values():
            parameter.grad = None

    def vector(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Return what this process holds of the parameters among some weights as one vector (P,) of a type."""
        found = torch.empty_like(self.values, dtype=dtype)
        for name, view in self.views(found).items():
            view.copy_(_part(weights[name].detach(), self._team))
        return found

    def tensors(self, vector: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the whole parameters that the vectors of all processes stand for, one after the other."""
        for name, view in self.views(vector).items():
            like = self._spread[name]
            spread = DTensor.from_local(
                view, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
            )
            yield name, spread.full_tensor()

    @torch.no_grad()
    def whole(self, vector: Tensor) -> Tensor:
        """Return the vector of all processes on the processor of the first; an empty one in the others."""
        found = torch.empty(self._whole.size if self._team.is_first else 0, dtype=vector.dtype)
        views = self._whole.views(found) if self._team.is_first else {}
        for name, tensor in self.tensors(vector):
            if name in views:
                views[name].copy_(tensor)
        return found

    def part(self, whole: Tensor) -> Tensor:
        """Return what this process holds of a whole vector."""
        return self.vector(self._whole.views(whole), whole.dtype)

    def written(self) -> str:
        """Return the name of a parameter that is not what it was before the pass; none if all are."""
        for (name, parameter), own, view in zip(self._spread.items(), self._own.values(), self._views, strict=True):
            now = _held(parameter)
            if now.data_ptr() != own.data_ptr() or not same(now, view):
                return name
        return ""

    def _found(self) -> list[Tensor | None]:
        """Return the sums of what all processes found: their means are what FSDP leaves."""
        gradients = [parameter.grad for parameter in self._spread.values()]
        return [None if each is None else _held(each) * self._team.count for each in gradients]


class SpreadModule(FlatModule):
    """A module spread over the processes of a team by FSDP2; see `FlatModule`.

    Every pass has to be run by all processes at the same parameters: they gather them block by block. What is on the
    device are the process's own part, and the block that runs.

    Args:
        model: The module, on the processor; taken over.
        device: Where it is spread to.
        team: The processes.

    Raises:
        InputError: It has no parameter to train, or cannot be spread.
    """

    is_spread = True

    def __init__(self, model: nn.Module, device: torch.device, team: Team) -> None:
        self._team = team
        _refuse_sparse(model)
        self._where = {name: torch.empty_like(tensor, device="meta") for name, tensor in model.named_parameters()}
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP spreads no others
        blocks = [*blocks_of(model), model]
        self._first: Unwritten | None = Unwritten(model, blocks)
        with guarded_call(f"sharded: the model ({type(model).__name__}) cannot be spread over processes"):
            _spread(blocks, init_device_mesh(device.type, (team.count,)))
        super().__init__(model)

    def check(self) -> None:
        """After a pass: make sure that it was one of the parameters, and the first time that it wrote none.

        Raises:
            InputError: The module put another parameter in the place of one of its own, or wrote one.
        """
        super().check()
        if self._first is not None:
            self._first.stop()
            self._first = None
            for group in self.groups:
                if isinstance(group, SpreadGroup) and (name := group.written()):
                    raise written(type(self.model).__name__, name)

    def _group(self, parameters: Mapping[str, Tensor]) -> Group:
        spread = {name: each for name, each in parameters.items() if isinstance(each, DTensor)}
        return SpreadGroup(spread, Layout({name: self._where[name] for name in spread}), self._team)

    def held(self, tensor: Tensor) -> Tensor:
        """Return what this process holds of one of the module's own tensors: of buffers, all."""
        return _held(tensor)

    def cut(self, tensor: Tensor, whole: Tensor) -> Tensor:
        """Return what this process would hold of other values of one of the module's own tensors."""
        own = _part(whole, self._team) if isinstance(tensor, DTensor) else whole
        return own.to(tensor.device, tensor.dtype)

    def total(self, number: Tensor) -> Tensor:
        """Return the sum of what every process says of its part; the same in all of them."""
        found = number.clone()
        self._team.sum(found)
        return found


def spread_module(task: Task, weights: Weights, team: Team) -> SpreadModule:
    """Return a task's module with some weights, spread over processes; whole it is only on the processor.

    Raises:
        InputError: It has no parameter to train, or cannot be spread.
        UsageError: The device is none that processes talk from.
    """
    if task.device.type not in _DEVICES:
        raise UsageError(f"sharded: processes share weights on {' and '.join(_DEVICES)}, not on {task.device.type}")
    model = replace(task, device=torch.device("cpu")).model()
    assign(weights_of(model), weights)
    return SpreadModule(model, task.device, team)


def _spread(blocks: list[nn.Module], mesh: DeviceMesh) -> None:
    """Spread modules, what each has besides the ones before it."""
    for block in blocks:
        types = [parameter.dtype for parameter in block.parameters() if not isinstance(parameter, DTensor)]
        # Gradients are summed in the type that control points have.
        policy = MixedPrecisionPolicy(reduce_dtype=wide(types[0]) if types else None)
        fully_shard(block, mesh=mesh, mp_policy=policy)


def _refuse_sparse(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise InputError(
                f"sharded: the model ({type(model).__name__}): {name} gives sparse gradients, which FSDP does not sum; "
                "make it with sparse=False"
            )


def _held(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.detach()


def _part(whole: Tensor, team: Team) -> Tensor:
    """Return a process's part of a whole tensor, cut along the first axis as FSDP2 does."""
    parts = whole.chunk(team.count)
    return parts[team.rank] if team.rank < len(parts) else whole[:0]
