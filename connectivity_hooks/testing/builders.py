"""The conformance suite of builders."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from connectivity_hooks.contracts import Builder
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.model.inputs import placed
from connectivity_hooks.model.weights import assign, same, weights_of
from connectivity_hooks.paths import CONSTANT, MEASURED, Path, Weights
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.testing.methods import MethodSuite, global_random_state_kept
from connectivity_hooks.testing.tasks import make_task, make_weights
from connectivity_hooks.testing.works import CutShort, CutWork

BETWEEN = (0.13, 0.5, 0.86)
# In float64, where a small network's outputs are rounded to 1e-15: what lies a million times above that is no rounding.
TOLERANCE = 1e-9


class BuilderSuite(MethodSuite):
    """What a builder must do; set `builder`."""

    builder: ClassVar[type[Builder]]

    def method(self) -> type[Method]:
        """Return the builder."""
        return self.builder

    def make_task(self) -> Task:
        """Return the task the builder is tried on; override it for builders that need another."""
        return make_task()

    def make_weights(self, seed: int) -> Weights:
        """Return the weights of one end."""
        return make_weights(self.make_task(), seed)

    def test_the_path_keeps_its_ends_bit_for_bit(self) -> None:
        """T = 0 and t = 1 are the checkpoints."""
        a, b, path = self._build()
        for t, end in ((0.0, a), (1.0, b)):
            found = path(t)
            assert found.keys() == end.keys(), f"names at t = {t} differ"
            for name, tensor in end.items():
                assert same(found[name], tensor), f"{name} differs at t = {t}"

    def test_neither_end_is_modified(self) -> None:
        """The inputs are as before, and so are the global random states."""
        a, b = self.make_weights(1), self.make_weights(2)
        kept = [{name: tensor.clone() for name, tensor in end.items()} for end in (a, b)]
        task = self.make_task()
        with global_random_state_kept():
            self.make().build(a, b, task)
        for end, before in zip((a, b), kept, strict=True):
            assert all(same(end[name], tensor) for name, tensor in before.items()), "an end was modified"

    def test_weights_in_between_fit_the_model(self) -> None:
        """Names, shapes and types are the model's; integers come from points; tied weights are equal."""
        a, _, path = self._build()
        points = list(path.points())
        for t in BETWEEN:
            for name, tensor in path(t).items():
                assert tensor.shape == a[name].shape, f"{name} has another shape at t = {t}"
                assert tensor.dtype == a[name].dtype, f"{name} has another type at t = {t}"
                assert bool(torch.isfinite(tensor).all()), f"{name} is not finite at t = {t}"
                if not tensor.is_floating_point():
                    assert any(torch.equal(tensor, point[name]) for point in points), f"{name} is interpolated"
            if "decode.weight" in a:
                weights = path(t)
                assert torch.equal(weights["encode.weight"], weights["decode.weight"]), "tied weights part"

    def test_guarantees_are_true(self) -> None:
        """Constant segments leave the outputs, convex ones lead straight from the outputs at one end to the other's."""
        _, _, path = self._build()
        for segment, guarantee in enumerate(path.guarantees):
            if guarantee == MEASURED:
                continue
            left, right = path.interval(segment)
            first, last = self._outputs(path, left), self._outputs(path, right)
            for share in BETWEEN:
                expected = first if guarantee == CONSTANT else torch.lerp(first, last, share)
                wrong = float((self._outputs(path, left + share * (right - left)) - expected).abs().max())
                scale = max(1.0, float(expected.abs().max()))
                assert wrong <= TOLERANCE * scale, (
                    f"segment {segment} is not {guarantee}: outputs deviate by {wrong:.1e}"
                )

    def test_identical_ends_are_connected(self) -> None:
        """A path from a checkpoint to itself is valid."""
        end = self.make_weights(1)
        path = self.make().build(end, dict(end), self.make_task())
        assert all(same(path(1.0)[name], tensor) for name, tensor in end.items())

    def test_one_seed_gives_one_path(self) -> None:
        """Two runs of one seed agree bit for bit."""
        paths = [self._build()[2] for _ in range(2)]
        for t in BETWEEN:
            weights = [path(t) for path in paths]
            assert all(same(tensor, weights[1][name]) for name, tensor in weights[0].items())

    def test_the_path_survives_its_file(self) -> None:
        """Saved and loaded it is the same path."""
        _, _, path = self._build()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "p.path.safetensors"
            path.save(file)
            loaded = Path.load(file)
        assert (loaded.positions, loaded.guarantees, loaded.shape) == (path.positions, path.guarantees, path.shape)
        for t in (0.0, *BETWEEN, 1.0):
            weights = path(t)
            assert all(same(tensor, weights[name]) for name, tensor in loaded(t).items())

    def test_a_builder_that_is_killed_goes_on_to_the_same_path(self) -> None:
        """Ended right after it saved its first state, it builds from there what it builds in one go."""
        work, ends = CutWork(), (self.make_weights(1), self.make_weights(2))
        builder = self.make()
        with builder.working(work), contextlib.suppress(CutShort):
            builder.build(*ends, self.make_task())
        if work.state is None:
            return  # it keeps no state, and begins again
        with builder.working(work):
            resumed = builder.build(*ends, self.make_task())
        whole = self._build()[2]
        for t in BETWEEN:
            weights = whole(t)
            assert all(same(tensor, weights[name]) for name, tensor in resumed(t).items()), f"it differs at t = {t}"

    def _build(self) -> tuple[Weights, Weights, Path]:
        a, b = self.make_weights(1), self.make_weights(2)
        return a, b, self.make().build(a, b, self.make_task())

    @torch.no_grad()
    def _outputs(self, path: Path, t: float) -> Tensor:
        task = replace(self.make_task(), dtype=torch.float64)
        model = task.model()
        assign(weights_of(model), path.to(torch.device("cpu"), torch.float64)(t))
        inputs, _ = next(iter(task.train.batches(64)))
        return task.forward(model, placed(inputs, dtype=torch.float64))
