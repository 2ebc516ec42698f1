"""Mixtures inside heads: found where they are, never farther, and by an objective that is the distance."""

import torch
from matched_networks import network, random_end

from connectivity_hooks.structure import Element, apply, moved
from connectivity_hooks_alignment.matching.by_weights.ends import squared_distance, working
from connectivity_hooks_alignment.matching.by_weights.gauge import mixes
from connectivity_hooks_alignment.matching.by_weights.mixtures import Sums, polished


def ends():
    model, _, symmetries = network("vit")
    return symmetries, *(working(symmetries, random_end(model, symmetries, seed)) for seed in (1, 2))


def mixture(symmetry, seed, size=0.1):
    generator = torch.Generator().manual_seed(seed)
    shape = (symmetry.copies, symmetry.width, symmetry.width)
    return torch.eye(shape[-1], dtype=torch.float64) + size * torch.randn(
        shape, generator=generator, dtype=torch.float64
    )


def test_the_objective_is_the_distance():
    symmetries, a, b = ends()
    symmetry = next(each for each in symmetries.symmetries if mixes(each))
    sums, changes = Sums.of(symmetry, a, b), []
    for seed in (1, 2):
        now, m = dict(b), mixture(symmetry, seed)
        apply(symmetry, now, Element(matrix=m))
        changes.append((squared_distance(a, now), float(sums.distance(m).sum())))
    torch.testing.assert_close(changes[0][0] - changes[1][0], changes[0][1] - changes[1][1])


def test_a_small_mixture_is_undone():
    symmetries, a, _ = ends()
    b = moved(
        symmetries, a, {each.space: Element(matrix=mixture(each, 3)) for each in symmetries.symmetries if mixes(each)}
    )
    now = dict(b)
    polished(symmetries, a, now, {}, 200)
    assert squared_distance(a, now) < 1e-6 * squared_distance(a, b)


def test_more_steps_come_nearer_and_none_does_not_go_farther():
    symmetries, a, b = ends()
    distances = [squared_distance(a, b)]
    for steps in (0, 3, 50):
        now = dict(b)
        elements = polished(symmetries, a, now, {}, steps)
        distances.append(squared_distance(a, now))
        again = moved(symmetries, b, elements)
        assert all(torch.allclose(again[name], now[name]) for name in now)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0]
