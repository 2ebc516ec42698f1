import pytest
import torch

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features import neurons_last
from connectivity_hooks.features.layout import Layout


def test_flat_features_stay():
    x = torch.randn(3, 4)
    assert torch.equal(neurons_last(x), x)
    assert torch.equal(neurons_last(x.T, Layout(1, (0,))), x)


def test_feature_maps_are_pooled_or_flattened():
    x = torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(neurons_last(x), x.mean((2, 3)))
    assert torch.equal(neurons_last(x, pool="flatten"), x.reshape(3, 120))


def test_tokens_have_their_neurons_last():
    x = torch.randn(3, 7, 4)
    torch.testing.assert_close(neurons_last(x), x.mean(1))


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
@pytest.mark.parametrize("layout", [Layout(0, (1,)), Layout(1, (2,)), Layout(2, (0,)), Layout(1, (0,))])
def test_a_layout_says_where_samples_and_neurons_are(layout, pool):
    plain = torch.randn(3, 7, 4)  # (N, T, C)
    position = next(axis for axis in range(3) if axis not in (layout.samples, layout.neurons[0]))
    moved = plain.movedim((0, 1, 2), (layout.samples, position, layout.neurons[0]))
    torch.testing.assert_close(neurons_last(moved, layout, pool=pool), neurons_last(plain, pool=pool))


def test_maps_with_channels_last_and_heads():
    maps, heads = torch.randn(2, 5, 6, 4), torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(neurons_last(maps, Layout(0, (3,))), maps.mean((1, 2)))
    expected = heads.transpose(1, 2).reshape(2, 5, 12).mean(1)
    torch.testing.assert_close(neurons_last(heads, Layout(0, (1, 3))), expected)


def test_sequence_first_is_flattened_sample_by_sample():
    x = torch.randn(7, 3, 4)
    assert torch.equal(neurons_last(x, Layout(1, (2,)), pool="flatten"), x.transpose(0, 1).reshape(3, 28))


@pytest.mark.parametrize("layout", [Layout(0, (2,)), Layout(1, (2,)), Layout(0, (1,)), Layout(2, (0,))])
def test_padding_is_no_feature(layout):
    plain, tokens = torch.randn(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0]]).bool()
    position = next(axis for axis in range(3) if axis not in (layout.samples, layout.neurons[0]))
    x = plain.movedim((0, 1, 2), (layout.samples, position, layout.neurons[0]))
    x = x.clone()
    x.movedim((layout.samples, position), (0, 1))[~tokens] = torch.nan  # whatever is there

    def taken(pool):
        return neurons_last(x, layout, pool=pool, tokens=tokens)

    torch.testing.assert_close(taken("mean"), torch.stack([plain[0, :2].mean(0), plain[1, 1:4].mean(0)]))
    torch.testing.assert_close(taken("first"), torch.stack([plain[0, 0], plain[1, 1]]))
    torch.testing.assert_close(taken("last"), torch.stack([plain[0, 1], plain[1, 3]]))
    zeroed = plain * tokens[..., None]
    flat = zeroed.movedim((0, 1, 2), (layout.samples, position, layout.neurons[0])).movedim(layout.samples, 0)
    torch.testing.assert_close(taken("flatten"), flat.flatten(1))


def test_a_mask_of_other_positions_is_not_used():
    x, tokens = torch.randn(2, 5, 3), torch.tensor([[1, 0, 0], [1, 1, 0]]).bool()
    torch.testing.assert_close(neurons_last(x, tokens=tokens), x.mean(1))


def test_half_precision_is_widened_before_the_mean():
    x = torch.full((1, 1, 64, 64), 1000.0, dtype=torch.float16)
    assert neurons_last(x).item() == 1000
    assert neurons_last(x).dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (5,)])
def test_what_has_no_neurons_is_refused(shape):
    with pytest.raises(InputError, match="no neurons"):
        neurons_last(torch.zeros(shape))


def test_an_unknown_way_of_taking_positions_is_refused():
    with pytest.raises(UsageError, match="expected one of mean, flatten, first, last, found 'middle'"):
        neurons_last(torch.zeros(2, 3), pool="middle")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8])
def test_bools_and_integers_are_measured_as_numbers(dtype):
    x = torch.tensor([[[1, 0], [1, 1], [0, 0], [1, 0]]], dtype=dtype)
    assert torch.equal(neurons_last(x), torch.tensor([[0.75, 0.25]]))


def test_complex_features_are_refused():
    with pytest.raises(InputError, match="a feature of type complex64; expected real numbers"):
        neurons_last(torch.zeros(3, 4, dtype=torch.complex64))
