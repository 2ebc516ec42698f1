"""The conformance suite of operations that a plugin teaches."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import nn

from connectivity_hooks.contracts import Operation
from connectivity_hooks.model.inputs import Inputs
from connectivity_hooks.registry import registry
from connectivity_hooks.structure import Measured, measured, read_program, read_symmetries


class OperationSuite:
    """What a taught operation must do; set `operation`, and define a model that uses it and what it is run on.

    The plugin has to be installed, so that the operation is registered.
    """

    operation: ClassVar[type[Operation]]

    def make_model(self) -> nn.Module:
        """Return a small network in which neurons go through the operation."""
        raise NotImplementedError(f"{type(self).__name__}: define make_model, a network that uses the operation")

    def make_inputs(self) -> Inputs:
        """Return what the network is run on: two samples or more."""
        raise NotImplementedError(f"{type(self).__name__}: define make_inputs, what that network is run on")

    def test_it_is_registered(self) -> None:
        """A plugin offers the class in `register_operations`."""
        entry = registry().operations.get(self.operation.name)
        assert entry is not None, f"no plugin offers {self.operation.name}; return it from register_operations"
        assert entry.cls is self.operation

    def test_the_model_uses_it(self) -> None:
        """The name is that of the operation as it is exported."""
        steps = read_program(self._model(), self.make_inputs()).steps
        found = sorted({step.operation for step in steps})
        assert self.operation.name in found, f"the model's operations are {', '.join(found)}"

    def test_neurons_go_through_it(self) -> None:
        """Some neurons that it reads or gives may be moved."""
        program = read_program(self._model(), self.make_inputs())
        spaces = read_symmetries(program).spaces
        touched = {name for step in program.steps if step.operation == self.operation.name for name in step.inputs}
        layouts = [layout for name in touched for layout in spaces.values.get(name, ())]
        moving = {leaf.space for layout in layouts for leaf in layout.leaves()} & set(spaces.free)
        assert moving, f"all neurons that {self.operation.name} reads stay where they are"

    def test_what_it_teaches_holds(self) -> None:
        """Random elements of every group leave the outputs as they are in float64, and so does the derivative."""
        assert self._measured().refuted == ()

    def test_nothing_larger_holds(self) -> None:
        """The groups are the largest that hold."""
        smaller = [each.name for each in self._measured().comparisons if not each.agrees]
        assert not smaller, f"a larger group than the derived one holds for {', '.join(smaller)}"

    def _model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make_model().eval()

    def _measured(self) -> Measured:
        model, inputs = self._model(), self.make_inputs()
        symmetries = read_symmetries(read_program(model, inputs))
        return measured(symmetries, copy.deepcopy(model).double(), inputs)
