"""The nearest element of a group, against trying all of them and against scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from connectivity_hooks.structure import Group
from connectivity_hooks.structure.symmetries.groups import O1, SIGNED, O, S
from connectivity_hooks_alignment.matching.nearest import gain, nearest

A, B = (torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))
C = A @ B.mT


def product(element, copy):
    return float((element.dense()[copy] * C[copy]).sum())


@pytest.mark.parametrize("copy", [0, 1])
def test_no_permutation_is_nearer(copy):
    best = max(sum(float(C[copy, i, j]) for i, j in enumerate(order)) for order in itertools.permutations(range(4)))
    found = nearest(S, C)
    assert found.is_permutation
    assert product(found, copy) == pytest.approx(best)
    assert float(gain(S, C)[copy]) == pytest.approx(best)


@pytest.mark.parametrize("copy", [0, 1])
def test_no_permutation_with_signs_is_nearer(copy):
    best = max(
        sum(abs(float(C[copy, i, j])) for i, j in enumerate(order)) for order in itertools.permutations(range(4))
    )
    found = nearest(SIGNED, C)
    assert set(found.factors.flatten().tolist()) <= {-1.0, 1.0}
    assert product(found, copy) == pytest.approx(best)
    assert float(gain(SIGNED, C)[copy]) == pytest.approx(best)


@pytest.mark.parametrize("copy", [0, 1])
def test_the_nearest_rotation_is_scipys(copy):
    expected = orthogonal_procrustes(B[copy].numpy().T, A[copy].numpy().T)[0].T
    np.testing.assert_allclose(nearest(O, C).matrix[copy].numpy(), expected, atol=1e-12)
    assert float(gain(O, C)[copy]) == pytest.approx(product(nearest(O, C), copy))


def test_a_rotation_around_the_ones_is_one_and_no_nearby_one_is_nearer():
    found = nearest(O1, C).matrix
    eye, ones = torch.eye(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(found @ found.mT, eye.expand(2, 4, 4))
    torch.testing.assert_close(found @ ones, ones.expand(2, 4))
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        drawn = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        beside = eye - 1 / 4
        turn = torch.matrix_exp(0.3 * beside @ (drawn - drawn.T) @ beside)
        assert float((turn @ found[0] * C[0]).sum()) <= float((found[0] * C[0]).sum()) + 1e-12


def test_factors_are_left_to_others():
    assert nearest(S | Group.SCALE, C).is_permutation
