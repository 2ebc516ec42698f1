"""A task: how the model is made, the data, and the loss."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.facts import facts_of
from connectivity_hooks.held_values import module_digest
from connectivity_hooks.model.pristine import pristine
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.model.wrappers import unwrapped
from connectivity_hooks.strangers import guarded_call
from connectivity_hooks.tasks.augmenting import Augment
from connectivity_hooks.tasks.loss import LOSSES, Loss
from connectivity_hooks.tasks.split import Split

ModelFactory = Callable[[], nn.Module]
_Waiting = tuple[nn.Module, nn.Module | None]
"""A module to read, and its copy that never ran, which shares its tensors; None where it cannot be copied."""


@dataclass(frozen=True)
class Task:
    """What two checkpoints were trained for.

    Attributes:
        factory: Makes the module, with any weights.
        train: Training split.
        test: Test split; None when there is none.
        loss: The loss, with whether it is convex in the outputs.
        device: Where everything is computed.
        dtype: Floating type of weights, inputs and outputs.
        batch_size: Samples of one forward pass.
        augment: Augments inputs wherever something is trained; nothing measured is augmented. None: no augmentation.
        forward: How the model is run, and which of what it returns the loss reads.
        model_name: The model as named on the command line; empty when made in code.
        data_name: The data likewise.
        augment_name: The augmentation likewise.
        notes: What a person should know of how the data is read.
    """

    factory: ModelFactory
    train: Split
    test: Split | None = None
    loss: Loss = field(default_factory=lambda: LOSSES["cross-entropy"])
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    batch_size: int = 512
    augment: Augment | None = None
    forward: Forward = PLAIN
    model_name: str = ""
    data_name: str = ""
    augment_name: str = ""
    notes: tuple[str, ...] = ()
    _waiting: list[tuple[nn.Module, nn.Module | None]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _facts: list[Mapping[str, str]] = field(default_factory=list, init=False, repr=False, compare=False)
    _made: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def model(self) -> nn.Module:
        """Make the module on the task's device and dtype, in evaluation mode; the global random state is kept.

        Raises:
            InputError: The code that makes it or moves it fails, or it has weights without values.
        """
        name = self.model_name or "the model"
        with torch.random.fork_rng(), guarded_call(f"{name}: cannot be made for {self.device}"):
            model = unwrapped(self.factory())
            _require_values(model, name)
            if not self._facts:  # before anything runs: a pass may write to the configuration
                self._facts.append(facts_of(model))
            made = model.to(self.device, self.dtype)
            made.eval()  # what it returns is for the module's own class to say
        if not isinstance(made, nn.Module):
            raise InputError(f"{name}: its `to` returns a {type(made).__name__}, expected the module itself")
        return made

    def structure(self) -> nn.Module:
        """Return a module to read names, shapes and steps from, never to write to; made once, kept for `blank`."""
        if not self._waiting:
            model = self.model()
            self._waiting.append((model, pristine(model)))
        return self._waiting[0][0]

    def blank(self) -> nn.Module:
        """Return a module of one's own whose weights are to be written, and that never ran.

        Its tensors are those of the one that `structure` keeps, if it does. That one may have run, and may have kept
        what it computed under its first weights.
        """
        try:
            _, unused = self._waiting.pop()
        except IndexError:
            return self.model()
        return self.model() if unused is None else unused

    def made(self) -> str:
        """Return a digest of the module, see `module_digest`; asked for once, since passes may leave values behind."""
        if not self._made:
            self._made.append(module_digest(self.structure()))
        return self._made[0]

    def facts(self) -> Mapping[str, str]:
        """Return what makes the model's function beside its own weights, see `Adapter.facts`."""
        if not self._facts:
            self.structure()
        return self._facts[0]

    def on(self, train: Split, test: Split | None, notes: Iterable[str] = ()) -> Task:
        """Return the task on other data, with the module that `structure` keeps."""
        return self._sharing(replace(self, train=train, test=test, notes=tuple(notes)))

    def read_as(self, loss: Loss, notes: tuple[str, ...] = ()) -> Task:
        """Return the task with a loss that is settled on how targets are read, and with the module it keeps."""
        return self._sharing(replace(self, loss=loss, notes=notes))

    def _sharing(self, task: Task) -> Task:
        object.__setattr__(task, "_waiting", self._waiting)  # whoever takes the module takes it from both
        object.__setattr__(task, "_facts", self._facts)
        return task

    def splits(self) -> tuple[Split, ...]:
        """Return the training split and, if there is one, the test split."""
        return (self.train,) if self.test is None else (self.train, self.test)

    def describe(self) -> dict[str, object]:
        """Return the task as written into a report."""
        return {
            "model": self.model_name,
            "data": self.data_name,
            "augment": self.augment_name or None,
            "output": self.forward.pick,
            "loss": self.loss.name,
            "loss_is_convex": self.loss.convex,
            "batch_size": self.batch_size,
            "batches_count": self.batch_size if self.loss.coupled else None,
            "samples": {split.name: len(split) for split in self.splits()},
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "notes": list(self.notes),
        }


def _require_values(model: nn.Module, name: str) -> None:
    for key, weight in itertools.chain(model.named_parameters(), model.named_buffers()):
        if weight.is_meta:
            raise InputError(f"{name}: {key} is on the meta device, without values; make the model on a real one")
