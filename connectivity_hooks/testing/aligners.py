"""The conformance suite of aligners."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch

from connectivity_hooks.connecting.alignment import function_change
from connectivity_hooks.contracts import Aligner, Alignment
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.model.weights import Weights, same
from connectivity_hooks.structure import read_spaces, task_program
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.testing.methods import MethodSuite, global_random_state_kept
from connectivity_hooks.testing.tasks import Hidden, Network, make_task, make_weights


class AlignerSuite(MethodSuite):
    """What an aligner must do; set `aligner`.

    Attributes:
        aligner: The aligner.
        exchanges: Whether it exchanges hidden neurons, so that it comes nearer to a copy whose neurons were exchanged;
            an aligner of other symmetries says no.
    """

    aligner: ClassVar[type[Aligner]]
    exchanges: ClassVar[bool] = True

    def method(self) -> type[Method]:
        """Return the aligner."""
        return self.aligner

    def make_task(self) -> Task:
        """Return the task the aligner is tried on, a network with hidden neurons that may be exchanged.

        Override it for aligners that need another.
        """
        return make_task(network=Hidden)

    def make_weights(self, seed: int) -> Weights:
        """Return the weights of one end."""
        return make_weights(self.make_task(), seed)

    def test_the_function_is_kept(self) -> None:
        """f(π(θ_B)) = f(θ_B) in float64, but for rounding its weights once."""
        _, b, found = self._align()
        change = function_change(b, found.weights, self.make_task())
        assert change.is_rounding, f"outputs deviate by {change.deviation:.1e}, allowed {change.allowed:.1e}"

    def test_the_distance_does_not_grow(self) -> None:
        """π(θ_B) lies no farther from θ_A than θ_B does."""
        a, b, found = self._align()
        before, after = _distance(a, b), _distance(a, found.weights)
        assert after <= before * (1 + 1e-6), f"the distance grows from {before:.4g} to {after:.4g}"

    def test_a_copy_with_exchanged_neurons_comes_nearer(self) -> None:
        """Where θ_B is θ_A with its hidden neurons in another order, π brings it nearer; see `exchanges`."""
        if not self.exchanges:
            return
        a, task = self.make_weights(1), self.make_task()
        spaces = read_spaces(task_program(task))
        assert spaces.free, "the network has no hidden neurons that may be exchanged; override make_task"
        b = spaces.permuted(a, {each: torch.arange(spaces.spaces[each].width).roll(1) for each in spaces.free})
        before, after = _distance(a, b), _distance(a, self.make().align(a, b, task).weights)
        assert after < before * (1 - 1e-6), f"a copy stays as far as it was, {before:.4g}"

    def test_neither_end_is_modified(self) -> None:
        """The inputs are as before, and so are the global random states."""
        a, b, task = self.make_weights(1), self.make_weights(2), self.make_task()
        kept = [{name: tensor.clone() for name, tensor in end.items()} for end in (a, b)]
        with global_random_state_kept():
            self.make().align(a, b, task)
        for end, before in zip((a, b), kept, strict=True):
            assert all(same(end[name], tensor) for name, tensor in before.items()), "an end was modified"

    def test_one_seed_gives_one_alignment(self) -> None:
        """Two runs of one seed agree bit for bit, and in their record, whatever the global random states are."""
        with _seeded(1):
            _, _, one = self._align()
        with _seeded(2):
            _, _, other = self._align()
        for name, tensor in one.weights.items():
            assert same(tensor, other.weights[name]), f"{name} differs between two runs of one seed"
        assert dict(one.record) == dict(other.record), "the records of two runs of one seed differ"

    def test_the_record_is_json_ready(self) -> None:
        """What was done can be written into the path's file."""
        _, _, found = self._align()
        try:
            json.dumps(dict(found.record), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"the record is not of JSON-ready values: {error}") from error

    def test_names_shapes_and_types_are_kept(self) -> None:
        """The copy has the checkpoint's own names, shapes and types."""
        _, b, found = self._align()
        expected = {name: (tensor.shape, tensor.dtype) for name, tensor in b.items()}
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.weights.items()} == expected

    def test_a_network_without_free_neurons_keeps_its_function(self) -> None:
        """Of a network whose neurons are all bound, by tied weights, nothing is broken."""
        task = make_task(network=Network)
        a, b = (make_weights(task, seed) for seed in (1, 2))
        found = self.make().align(a, b, task).weights
        assert function_change(b, found, task).is_rounding, "the function of a network with tied weights changes"
        assert same(found["encode.weight"], found["decode.weight"]), "tied weights part"

    def _align(self) -> tuple[Weights, Weights, Alignment]:
        a, b = self.make_weights(1), self.make_weights(2)
        return a, b, self.make().align(a, dict(b), self.make_task())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Give the global generators a state of their own in the block."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        yield
    np.random.set_state(numpy_state)
    random.setstate(python_state)


def _distance(a: Weights, b: Weights) -> float:
    moved = (a[name].double() - b[name].double() for name in a if a[name].is_floating_point())
    return math.sqrt(sum(float(difference.square().sum()) for difference in moved))
