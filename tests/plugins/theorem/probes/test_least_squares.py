"""Least squares against the library's."""

import pytest
import torch

from connectivity_hooks_theorem.probes.least_squares import CHUNK, fit_least_squares, solve


def test_least_squares_are_those_of_the_library():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 7, generator=generator).relu()
    outputs = torch.randn(300, 3, generator=generator)
    weight, bias = fit_least_squares(features, outputs)
    extended = torch.cat([features, torch.ones(300, 1)], 1).double()
    wanted = torch.linalg.lstsq(extended, outputs.double()).solution.T
    torch.testing.assert_close(weight, wanted[:, :-1].float(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(bias, wanted[:, -1].float(), rtol=1e-3, atol=1e-5)
    plain, none = fit_least_squares(features, outputs, intercept=False)
    wanted = torch.linalg.lstsq(features.double(), outputs.double()).solution.T
    torch.testing.assert_close(plain, wanted.float(), rtol=1e-3, atol=1e-5)
    assert none is None


def test_least_squares_take_dead_and_repeated_features():
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    features = torch.cat([features, features, torch.zeros(50, 2)], 1)
    weight, bias = fit_least_squares(features, features[:, :2] + 1)
    torch.testing.assert_close(features @ weight.T + bias, features[:, :2] + 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("intercept", [True, False])
def test_samples_are_taken_in_parts_and_all_of_them_count(intercept):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2 * CHUNK + 5, 4, generator=generator, dtype=torch.float64) + 3
    features[-3:] += 20  # the last part is a small one
    outputs = torch.randn(len(features), 2, generator=generator, dtype=torch.float64)
    weight, bias = fit_least_squares(features, outputs, intercept=intercept)
    columns = torch.cat([features, torch.ones(len(features), 1)], 1) if intercept else features
    wanted = torch.linalg.lstsq(columns, outputs).solution.T
    torch.testing.assert_close(weight, wanted[:, :4], rtol=1e-4, atol=1e-5)
    assert (bias is None) == (not intercept)
    if intercept:
        torch.testing.assert_close(bias, wanted[:, 4], rtol=1e-4, atol=1e-5)


def test_the_ridge_is_a_millionth_of_the_mean_second_moment():
    moments = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    products = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    ridge = 3e-6 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close((moments + ridge) @ solve(moments, products), products, rtol=1e-12, atol=0)
    assert not solve(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)).any()
