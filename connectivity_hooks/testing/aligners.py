"""The conformance suite of aligners."""

from __future__ import annotations

import math
from typing import ClassVar

from connectivity_hooks.connecting.alignment import TOLERANCE, function_change
from connectivity_hooks.contracts import Aligner
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.model.weights import Weights, same
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.testing.methods import MethodSuite, global_random_state_kept
from connectivity_hooks.testing.tasks import make_task, make_weights


class AlignerSuite(MethodSuite):
    """What an aligner must do; set `aligner`."""

    aligner: ClassVar[type[Aligner]]

    def method(self) -> type[Method]:
        """Return the aligner."""
        return self.aligner

    def make_task(self) -> Task:
        """Return the task the aligner is tried on; override it for aligners that need another."""
        return make_task()

    def make_weights(self, seed: int) -> Weights:
        """Return the weights of one end."""
        return make_weights(self.make_task(), seed)

    def test_the_function_is_kept(self) -> None:
        """f(π(θ_B)) = f(θ_B) in float64."""
        a, b, task = self.make_weights(1), self.make_weights(2), self.make_task()
        deviation = function_change(b, self.make().align(a, b, task).weights, task)
        assert deviation <= TOLERANCE, f"outputs deviate by {deviation:.1e}"

    def test_the_distance_does_not_grow(self) -> None:
        """π(θ_B) lies no farther from θ_A than θ_B does."""
        a, b, task = self.make_weights(1), self.make_weights(2), self.make_task()
        found = self.make().align(a, b, task).weights
        assert _distance(a, found) <= _distance(a, b) * (1 + 1e-6)

    def test_neither_end_is_modified(self) -> None:
        """The inputs are as before, and so are the global random states."""
        a, b, task = self.make_weights(1), self.make_weights(2), self.make_task()
        kept = [{name: tensor.clone() for name, tensor in end.items()} for end in (a, b)]
        with global_random_state_kept():
            self.make().align(a, b, task)
        for end, before in zip((a, b), kept, strict=True):
            assert all(same(end[name], tensor) for name, tensor in before.items()), "an end was modified"

    def test_names_shapes_and_types_are_kept(self) -> None:
        """The copy has the checkpoint's own names, shapes and types."""
        a, b = self.make_weights(1), self.make_weights(2)
        found = self.make().align(a, b, self.make_task()).weights
        assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in b.items()}


def _distance(a: Weights, b: Weights) -> float:
    moved = (a[name].double() - b[name].double() for name in a if a[name].is_floating_point())
    return math.sqrt(sum(float(difference.square().sum()) for difference in moved))
