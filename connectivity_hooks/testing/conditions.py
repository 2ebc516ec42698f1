"""The conformance suite of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from connectivity_hooks.contracts import Condition, Verdict
from connectivity_hooks.contracts.method import Method
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.tasks.task import Task
from connectivity_hooks.testing.methods import MethodSuite, global_random_state_kept
from connectivity_hooks.testing.tasks import make_task

LAYERS = ("act", "act2")


class _Spoilt(nn.Module):
    """A model whose first layer puts out NaN and whose second is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.act2, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.act(x * torch.nan).nan_to_num() + x)
        return logits


class _Merged(nn.Module):
    """A model whose first layer puts out a row for each of two tokens, and none for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.act2, self.head = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(torch.cat([x, x]))
        logits: Tensor = self.head(self.act2(tokens.view(2, *x.shape).sum(0)))
        return logits


class _Turned(_Merged):
    """A model whose first layer has the samples on another axis, as sequence-first modules do."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(torch.stack([x, 2 * x], 1 - self.axis))
        logits: Tensor = self.head(self.act2(tokens.sum(1 - self.axis)))
        return logits


class ConditionSuite(MethodSuite):
    """What a condition must do; set `condition`."""

    condition: ClassVar[type[Condition]]

    def method(self) -> type[Method]:
        """Return the condition."""
        return self.condition

    def make_task(self) -> Task:
        """Return the task the condition is tried on; override it for conditions that need another."""
        return make_task()

    def test_answers_for_every_layer(self) -> None:
        """There is one verdict at least for each layer, or one for the network, under the condition's name."""
        verdicts = self._check(self._model())
        assert {verdict.condition for verdict in verdicts} == {self.condition.name}
        layers = {verdict.layer for verdict in verdicts}
        assert layers in ({*LAYERS}, {None}), f"expected verdicts for {LAYERS} or for the network, found {layers}"

    def test_one_seed_gives_one_answer(self) -> None:
        """Two runs of one seed agree."""
        assert self._check(self._model()) == self._check(self._model())

    def test_the_model_is_left_as_it_was(self) -> None:
        """Weights, buffers, training flags, hooks and global random states are kept."""
        model = self._model()
        model.drop.train()  # type: ignore[union-attr]
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        with global_random_state_kept():
            self._check(model)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "weights changed"
        assert [module.training for module in model.modules()] == modes, "training flags changed"
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
        assert not any(hooks), "hooks are left on the model"

    def test_what_cannot_be_measured_never_holds(self) -> None:
        """NaN features and a layer that never fires are invalid."""
        with torch.random.fork_rng():
            model = _Spoilt().eval()
        for verdict in self._check(model):
            if verdict.layer is not None:
                assert verdict.holds is None, f"{verdict.layer} cannot be measured, found {verdict.status}"
                assert verdict.reason

    def test_rows_that_are_no_samples_never_hold(self) -> None:
        """A layer without an axis of samples is invalid, and no other is because of it."""
        with torch.random.fork_rng():
            model = _Merged().eval()
        for verdict in self._check(model):
            assert verdict.layer is None or (verdict.holds is None) == (verdict.layer == "act")

    def test_samples_may_be_on_another_axis(self) -> None:
        """A layer whose second axis is the samples' has the verdict of one whose first axis is."""
        with torch.random.fork_rng():
            first, second = _Turned(0).eval(), _Turned(1).eval()
        second.load_state_dict(first.state_dict())
        for verdict, turned in zip(self._check(first), self._check(second), strict=True):
            assert (verdict.layer, verdict.holds) == (turned.layer, turned.holds)
            if verdict.measured is not None:
                assert turned.measured is not None
                assert abs(verdict.measured - turned.measured) <= 1e-4 * (1 + abs(verdict.measured))

    def _check(self, model: nn.Module) -> Sequence[Verdict]:
        task = self.make_task()
        observation = Observation(model, task.train, task.loss, LAYERS, task.batch_size)
        return tuple(self.make().check(observation))

    def _model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make_task().factory().eval()
