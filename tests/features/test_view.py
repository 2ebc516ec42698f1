import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.features import neurons_last


def test_flat_features_stay():
    x = torch.randn(3, 4)
    assert torch.equal(neurons_last(x), x)


def test_feature_maps_are_pooled_or_flattened():
    x = torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(neurons_last(x), x.mean((2, 3)))
    assert torch.equal(neurons_last(x, spatial="flatten"), x.reshape(3, 120))


def test_tokens_have_their_neurons_last():
    x = torch.randn(3, 7, 4)
    torch.testing.assert_close(neurons_last(x), x.mean(1))
    torch.testing.assert_close(neurons_last(x, channels="first"), x.mean(2))
    y = torch.randn(2, 5, 6, 4)
    torch.testing.assert_close(neurons_last(y, channels="last"), y.mean((1, 2)))


def test_half_precision_is_widened_before_the_mean():
    x = torch.full((1, 1, 64, 64), 1000.0, dtype=torch.float16)
    assert neurons_last(x).item() == 1000
    assert neurons_last(x).dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (5,)])
def test_what_has_no_neurons_is_refused(shape):
    with pytest.raises(InputError, match="no neurons"):
        neurons_last(torch.zeros(shape))
