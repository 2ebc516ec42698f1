"""The conformance suite of corrections."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from connectivity_hooks.contracts import Correction
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.model.weights import same, weights_of
from connectivity_hooks.paths import Path, Weights
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.testing.methods import MethodSuite, global_random_state_kept
from connectivity_hooks.testing.tasks import make_task, make_weights

TS = (0.0, 0.31, 0.5, 1.0)


class CorrectionSuite(MethodSuite):
    """What a correction must do; set `correction`."""

    correction: ClassVar[type[Correction]]

    def method(self) -> type[Method]:
        """Return the correction."""
        return self.correction

    def make_task(self) -> Task:
        """Return the task the correction is tried on; override it for corrections that need another."""
        return make_task()

    def make_path(self) -> Path:
        """Return the path, the straight line between two ends."""
        task = self.make_task()
        return Path.from_points([make_weights(task, seed) for seed in (1, 2)])

    def test_names_shapes_and_types_are_kept(self) -> None:
        """Corrected weights are finite weights of the model; integers are the path's own."""
        path, corrected = self.make_path(), self._at_every_t()
        for t, weights in corrected.items():
            own = path(t)
            assert weights.keys() == own.keys()
            for name, tensor in weights.items():
                assert tensor.shape == own[name].shape, f"{name} has another shape at t = {t}"
                assert tensor.dtype == own[name].dtype, f"{name} has another type at t = {t}"
                if tensor.is_floating_point():
                    assert bool(torch.isfinite(tensor).all()), f"{name} is not finite at t = {t}"
                else:
                    assert torch.equal(tensor, own[name]), f"{name} is an integer and changed at t = {t}"

    def test_ends_are_kept_or_it_is_said(self) -> None:
        """A correction that is not applied everywhere leaves both ends bit for bit."""
        path, corrected = self.make_path(), self._at_every_t()
        for t in (0.0, 1.0):
            kept = all(same(tensor, corrected[t][name]) for name, tensor in path(t).items())
            assert kept or self.correction.everywhere, f"the end at t = {t} changed; say everywhere = True"

    def test_one_seed_gives_one_answer_at_each_t(self) -> None:
        """Two runs of one seed agree bit for bit, whatever was corrected before."""
        forwards, backwards = self._at_every_t(TS), self._at_every_t(tuple(reversed(TS)))
        for t, weights in forwards.items():
            for name, tensor in weights.items():
                assert same(tensor, backwards[t][name]), f"{name} at t = {t} depends on what was corrected before"

    def test_nothing_is_left_behind(self) -> None:
        """Training flags, hooks, attributes, the path and global random states are as before."""
        path, moving, moved = self.make_path(), self._moving(), self._moving()
        kept = {name: tensor.clone() for name, tensor in path.start.items()}
        before = [_state_of(module) for module in moving.model.modules()]
        with global_random_state_kept():
            corrected = Corrected(moving, self.make())
            corrected.go(0.5)
        after = [_state_of(module) for module in moving.model.modules()]
        assert after == before, "the model's flags, hooks or attributes changed"
        assert all(same(moving.path.start[name], tensor) for name, tensor in kept.items()), "the path was written to"
        moving.go(0.5)
        moved.go(0.5)
        now = weights_of(moving.model)
        for name, tensor in moved.weights.items():
            assert same(now[name], tensor), f"{name} is not the path's own once it is asked for again"

    def test_what_goes_by_the_weights_alone_asks_for_no_t(self) -> None:
        """A correction that says `by_weights_alone` does the same to the same weights, whatever t it is told."""
        if not self.correction.by_weights_alone:
            return
        moving, found = self._moving(), []
        prepared = self.make().prepare(moving)
        for t in (0.31, 1.0):
            moving.go(0.31)
            prepared.apply(t)
            found.append({name: tensor.detach().clone() for name, tensor in moving.weights.items()})
        for name, tensor in found[0].items():
            assert same(tensor, found[1][name]), f"{name} depends on t; say by_weights_alone = False"

    def _at_every_t(self, ts: tuple[float, ...] = TS) -> dict[float, Weights]:
        moving = self._moving()
        corrected, found = Corrected(moving, self.make()), {}
        for t in ts:
            corrected.go(t)
            found[t] = {name: tensor.detach().clone() for name, tensor in moving.weights.items()}
        return found

    def _moving(self) -> ModelOnPath:
        return ModelOnPath(self.make_path(), self.make_task())


def _state_of(module: nn.Module) -> tuple[object, ...]:
    """Return what a correction must put back: numbers of hooks, flags and other plain attributes, and all names."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
    return len(module._forward_hooks), len(module._forward_pre_hooks), plain, sorted(vars(module))
