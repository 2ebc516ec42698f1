"""Whether a path is of a model: names, shapes, kinds, tied weights; and whether a model keeps what is written."""

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.model.weights import assign, weights_of
from connectivity_hooks.paths import Path
from connectivity_hooks.paths.fitting import require_fit, require_written, tied_names


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight


class Copies(nn.Linear):
    """Its state_dict is a copy."""

    def state_dict(self, *args, **kwargs):
        return {name: tensor.clone() for name, tensor in super().state_dict(*args, **kwargs).items()}


def path_of(model, change=lambda weights: weights):
    ends = [{name: tensor.clone() for name, tensor in weights_of(model).items()} for _ in range(2)]
    return Path.from_points([change(end) for end in ends])


def without(name):
    return lambda weights: {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("bias"), r"missing \['bias'\], unexpected \[\]"),
        (lambda weights: {**weights, "more": torch.zeros(1)}, r"unexpected \['more'\]"),
        (lambda weights: {**weights, "bias": torch.zeros(5)}, r"bias is \(5,\), expected \(2,\)"),
        (lambda weights: {**weights, "bias": torch.zeros(2, dtype=torch.int64)}, r"bias is torch.int64"),
    ],
)
def test_what_is_not_the_model_s_is_named(change, words):
    with pytest.raises(InputError, match=words):
        require_fit(path_of(nn.Linear(3, 2), change), nn.Linear(3, 2))


def test_names_of_one_tensor_are_found_and_must_agree_at_every_point():
    model = Tied()
    assert tied_names(model) == [("one.weight", "two.weight")]
    require_fit(path_of(model), model)
    points = [dict(point) for point in path_of(model).points()]
    points[1]["two.weight"] = points[1]["two.weight"] + 1
    with pytest.raises(InputError, match=r"one\.weight and two\.weight are one tensor .* differ at point 1"):
        require_fit(Path.from_points(points), model)


def test_a_model_that_gives_copies_of_its_weights_does_not_keep_what_is_written():
    for kind, keeps in ((nn.Linear, True), (Copies, False)):
        model = kind(3, 2)
        written = {name: torch.full_like(tensor, 0.5) for name, tensor in weights_of(model).items()}
        assign(weights_of(model), written)
        if keeps:
            require_written(model, written)
        else:
            with pytest.raises(InputError, match="does not keep what is written into weight"):
                require_written(model, written)
