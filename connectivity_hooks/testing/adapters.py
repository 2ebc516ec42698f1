"""The conformance suite of model adapters."""

from __future__ import annotations

import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from connectivity_hooks.checkpoints.constants import equal_bits
from connectivity_hooks.checkpoints.names import tied_groups
from connectivity_hooks.contracts import Adapter
from connectivity_hooks.errors import UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.model.inputs import Inputs, rows_of
from connectivity_hooks.model.running import forward


class AdapterSuite:
    """What a model adapter must do; set `adapter`, and a model's `name` and `arguments`.

    Where the adapter makes no inputs for it, set the `shape` of one input too.
    """

    adapter: ClassVar[type[Adapter]]
    name: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
    shape: ClassVar[tuple[int, ...] | None] = None

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
            forward(model, self._inputs(model))
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

    def test_what_it_stores_is_read_back(self) -> None:
        """Weights under the names of the library's files come back bit for bit, under the names of the module."""
        model, adapter = self._model(), self.adapter()
        weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        stored = adapter.stored(model, weights)
        found = adapter.loaded(model, stored)
        for name, tensor in found.items():
            assert name in weights, f"{name} is read, and is no name of the module's state"
            assert equal_bits(tensor, weights[name]), f"{name} is not read as it was stored"
        assert found.keys() >= stored.keys() & weights.keys()
        _require_all(model, weights, found)

    def test_of_outlines_it_says_the_same(self) -> None:
        """On the meta device names and shapes are those that come of values."""
        model, adapter = self._model(), self.adapter()
        weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        stored = adapter.stored(model, weights)
        outline = {name: tensor.to("meta") for name, tensor in weights.items()}
        assert _shapes(adapter.stored(model, outline)) == _shapes(stored)
        stored_outline = {name: tensor.to("meta") for name, tensor in stored.items()}
        found = adapter.loaded(model, stored_outline)
        assert all(tensor.is_meta for tensor in found.values())
        assert _shapes(found) == _shapes(adapter.loaded(model, stored))

    def test_what_it_never_stored_is_left_as_it_is(self) -> None:
        """Names that are none of the library's come back as they were, for the comparison with the module to say."""
        strange = {"no.such.tensor": torch.zeros(2)}
        assert dict(self.adapter().loaded(self._model(), strange)) == strange

    def test_a_model_differs_from_none_of_its_name(self) -> None:
        """It does not tell a model from itself."""
        name = f"{self.adapter.prefix}:{self.name}"
        assert self.adapter().difference(name, name) is None

    def test_facts_are_texts_that_depend_on_no_weights(self) -> None:
        """Two models of one name have the same facts, and their own weights are none of them."""
        first, second = self._model(), self._model()
        with torch.no_grad():
            for parameter in second.parameters():
                parameter.add_(1)
        facts = dict(self.adapter().facts(first))
        assert all(isinstance(text, str) for item in facts.items() for text in item)
        assert dict(self.adapter().facts(second)) == facts

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

    def _inputs(self, model: nn.Module) -> Inputs:
        if self.shape is not None:
            return torch.zeros(2, *self.shape)
        made = self.adapter().inputs(model, 2)
        assert made is not None, "set `shape`: the adapter makes no inputs for this model"
        return made


def _require_all(model: nn.Module, weights: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Require every name of a state, but for further names of tensors that have several."""
    tied = {name: group for group in tied_groups(model) for name in group}
    for name in weights.keys() - found.keys():
        assert any(other in found for other in tied.get(name, ())), f"{name} is not read back"


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
