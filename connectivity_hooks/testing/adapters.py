"""The conformance suite of model adapters."""

from __future__ import annotations

import pathlib
import re
import tempfile
from typing import Any, ClassVar

import torch
from torch import nn

from connectivity_hooks.contracts import Adapter
from connectivity_hooks.errors import UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.model.inputs import rows_of
from connectivity_hooks.model.running import forward


class AdapterSuite:
    """What a model adapter must do; set `adapter`, a model's `name` and `arguments`, and the `shape` of one input."""

    adapter: ClassVar[type[Adapter]]
    name: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
    shape: ClassVar[tuple[int, ...]]

    def test_the_prefix_can_be_typed(self) -> None:
        """It is made of lower-case letters, digits and dashes."""
        assert re.fullmatch(r"[a-z][a-z0-9-]*", self.adapter.prefix)

    def test_its_own_models_are_claimed_and_no_others(self) -> None:
        """A model it made is claimed, a plain module is not."""
        assert self.adapter().claims(self._model())
        assert not self.adapter().claims(nn.Sequential(nn.Linear(2, 2)))

    def test_two_models_share_nothing(self) -> None:
        """Each call makes a fresh model."""
        models = [self._model() for _ in range(2)]
        first, second = ({parameter.data_ptr() for parameter in model.parameters()} for model in models)
        assert not first & second

    def test_every_layer_it_names_fires(self) -> None:
        """The layers it proposes exist and put out features."""
        model = self._model().eval()
        layers = self.adapter().layers(model)
        assert layers
        with torch.no_grad(), capture(model, layers) as features:
            forward(model, torch.zeros(2, *self.shape))
        assert not features.never_fired
        assert not features.problems

    def test_its_models_run_on_the_inputs_it_makes(self) -> None:
        """Where it knows what a model takes, as many samples as were asked for go through."""
        model = self._model().eval()
        inputs = self.adapter().inputs(model, 2)
        if inputs is not None:
            assert rows_of(inputs) == 2
            with torch.no_grad():
                forward(model, inputs)

    def test_an_unknown_model_is_wrong_usage(self) -> None:
        """It raises UsageError."""
        try:
            self.adapter().create("no such model at all", {})
        except UsageError:
            return
        raise AssertionError("an unknown model should raise UsageError")

    def test_a_strange_folder_is_not_its_own(self) -> None:
        """A folder without the library's files is left alone."""
        with tempfile.TemporaryDirectory() as folder:
            assert self.adapter().model_of(pathlib.Path(folder)) is None

    def _model(self) -> nn.Module:
        return self.adapter().create(self.name, self.arguments)
