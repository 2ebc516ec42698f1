"""Means of products: against numpy's singular values, in float64."""

import numpy as np
import pytest
import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import mean_of_products

PAIRS = [("b", "a")]


def ends(count=3, rank=2, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return [
        {"b": torch.randn(7, rank, generator=g).to(dtype), "a": torch.randn(rank, 5, generator=g).to(dtype)}
        for _ in range(count)
    ]


def test_it_is_the_nearest_product_of_that_rank_and_says_how_near():
    given, shares = ends(), [1.0, 2.0, 3.0]
    found = mean_of_products(given, PAIRS, shares)
    whole = sum(w * end["b"].numpy() @ end["a"].numpy() for w, end in zip(shares, given, strict=True)) / 6
    u, s, v = np.linalg.svd(whole)
    np.testing.assert_allclose(found.weights["b"] @ found.weights["a"], u[:, :2] * s[:2] @ v[:2], atol=1e-12)
    assert found.errors["b"] == pytest.approx(np.sqrt((s[2:] ** 2).sum() / (s**2).sum()), rel=1e-10)
    assert float(found.weights["b"].norm()) == pytest.approx(float(found.weights["a"].norm()))


def test_other_factors_of_the_same_product_have_the_same_mean():
    given = ends(2)
    g = torch.tensor([[2.0, 1.0], [0.0, -0.5]], dtype=torch.float64)
    mixed = [given[0], {"b": given[1]["b"] @ torch.linalg.inv(g), "a": g @ given[1]["a"]}]
    found, other = (mean_of_products(each, PAIRS).weights for each in (given, mixed))
    torch.testing.assert_close(found["b"] @ found["a"], other["b"] @ other["a"], rtol=1e-12, atol=1e-12)


def test_equal_factors_stay_bit_for_bit():
    given = ends(1, dtype=torch.float32) * 3
    found = mean_of_products(given, PAIRS)
    assert torch.equal(found.weights["b"], given[0]["b"])
    assert found.errors == {"b": 0.0}


def test_products_that_are_equal_have_no_error_and_nothing_is_zero_of_zero():
    given = ends(1)[0]
    found = mean_of_products([given, {"b": -given["b"], "a": -given["a"]}], PAIRS)
    assert found.errors["b"] < 1e-12
    zero = mean_of_products([given, {"b": -given["b"], "a": given["a"]}], PAIRS)
    assert float((zero.weights["b"] @ zero.weights["a"]).abs().max()) < 1e-12


def test_kernels_of_convolutions_are_joined_axes():
    given = [{"b": torch.randn(6, 2, 1, 1), "a": torch.randn(2, 3, 3, 3)} for _ in range(2)]
    found = mean_of_products(given, PAIRS)
    assert found.weights["b"].shape == (6, 2, 1, 1)
    assert found.weights["a"].shape == (2, 3, 3, 3)
    assert found.weights["a"].dtype == torch.float32


def test_other_ranks_are_refused():
    with pytest.raises(InputError, match=r"\[7, 2\] times \[2, 5\] and \[7, 3\] times \[3, 5\]"):
        mean_of_products([ends(1)[0], ends(1, rank=3)[0]], PAIRS)
