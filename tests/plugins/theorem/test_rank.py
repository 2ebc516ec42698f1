import numpy as np
import pytest
import torch

from connectivity_hooks_theorem.conditions.rank import Covariance, ranks


def gathered(x, sizes):
    covariance = Covariance()
    for batch in x.split(sizes):
        covariance.add(batch)
    return covariance


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [64, 64, 64, 8], [0, 199, 1]])
def test_the_covariance_is_numpys_in_any_batching_and_far_from_the_origin(sizes):
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(200, 7, generator=generator, dtype=torch.float64) * torch.logspace(-3, 3, 7, dtype=torch.float64)
        + 1e6
    )
    matrix = gathered(x, sizes).matrix.numpy()
    np.testing.assert_allclose(matrix, np.cov(x.numpy().T, bias=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("true", [1, 5, 12])
def test_the_numerical_rank_is_numpys(true):
    generator = torch.Generator().manual_seed(true)
    x = torch.randn(300, true, generator=generator) @ torch.randn(true, 20, generator=generator)
    centred = (x - x.mean(0)).numpy()
    found = ranks(gathered(x, [100, 100, 100]))
    assert found.numerical == np.linalg.matrix_rank(centred, tol=None) == true


def test_the_effective_rank_follows_its_definition():
    x = torch.randn(100, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = np.linalg.svd((x - x.mean(0)).numpy(), compute_uv=False)
    shares = values / values.sum()
    found = ranks(gathered(x, [50, 50]))
    assert found.effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert found.stable == pytest.approx((values**2).sum() / values[0] ** 2)


def test_constant_neurons_are_counted_and_no_features_have_no_rank():
    x = torch.randn(50, 4)
    x[:, 1] = 3
    assert ranks(gathered(x, [50])).constant == 1
    assert ranks(gathered(torch.ones(50, 4), [25, 25])).numerical == 0


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [4, 2]])
def test_few_samples_of_many_neurons_have_the_figures_of_numpys_svd(sizes):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 40, generator=generator, dtype=torch.float64)
    x[5], x[:, 7] = x[4], 2.5
    found, gathered_in = ranks(gathered(x, sizes)), gathered(x, sizes)
    values = np.linalg.svd((x - x.mean(0)).numpy(), compute_uv=False)
    shares = values[:4] / values[:4].sum()
    np.testing.assert_allclose(gathered_in.singular_values()[:4], values[:4], rtol=1e-10)
    np.testing.assert_allclose(gathered_in.matrix, np.cov(x.numpy().T, bias=True), atol=1e-12)
    assert (found.numerical, found.neurons, found.constant) == (4, 40, 1)
    assert found.effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert found.stable == pytest.approx((values**2).sum() / values[0] ** 2)


def test_figures_do_not_depend_on_which_of_both_products_is_taken():
    x = torch.randn(30, 30, generator=torch.Generator().manual_seed(2)) @ torch.randn(30, 31)
    few, many = gathered(x, [30]), gathered(torch.cat([x, x, x]), [30, 30, 30])
    torch.testing.assert_close(few.singular_values() * 3**0.5, many.singular_values()[:30], rtol=1e-6, atol=1e-5)


def test_the_square_of_the_neurons_is_never_held_for_a_few_samples():
    wide = torch.randn(4, 300_000, generator=torch.Generator().manual_seed(3))  # squared: 720 GB
    assert ranks(gathered(wide, [3, 1])).numerical == 3
