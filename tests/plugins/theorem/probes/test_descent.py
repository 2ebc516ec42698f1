"""L-BFGS directions against the matrix they stand for."""

import torch

from connectivity_hooks_theorem.probes.descent import Direction

DRAWS, ROWS, WIDTH = 2, 3, 4


def inverse_hessian(pairs, start):
    """Return the BFGS matrix of (moved, change) pairs, by its own formula (Nocedal and Wright 2006, 6.17)."""
    matrix = start
    for moved, change in pairs:
        rho = 1 / (moved @ change)
        left = torch.eye(len(moved), dtype=moved.dtype) - rho * torch.outer(moved, change)
        matrix = left @ matrix @ left.T + rho * torch.outer(moved, moved)
    return matrix


def drawn(generator):
    return torch.randn(DRAWS, ROWS, WIDTH, generator=generator, dtype=torch.float64)


def steps(generator, count):
    """Return steps on a quadratic, whose curvature is positive along each."""
    root = torch.randn(ROWS * WIDTH, ROWS * WIDTH, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(ROWS * WIDTH, dtype=torch.float64)
    moves = [drawn(generator) for _ in range(count)]
    return [(moved, (moved.flatten(1) @ hessian).view_as(moved)) for moved in moves]


def expected(pairs, gradient, metric):
    """Return -H·g of each draw; the first matrix is the metric's inverse, scaled to the last step."""
    found = []
    for draw in range(DRAWS):
        inverse = torch.kron(torch.eye(ROWS, dtype=torch.float64), torch.linalg.inv(metric[draw]).contiguous())
        own = [(moved[draw].flatten(), change[draw].flatten()) for moved, change in pairs]
        moved, change = own[-1] if own else (None, None)
        scale = (moved @ change) / (change @ inverse @ change) if own else 1.0
        matrix = inverse_hessian(own, scale * inverse)
        found.append((-matrix @ gradient[draw].flatten()).view(ROWS, WIDTH))
    return torch.stack(found)


def test_a_direction_is_the_bfgs_matrix_times_the_gradient():
    generator = torch.Generator().manual_seed(0)
    eye = torch.eye(WIDTH, dtype=torch.float64).expand(DRAWS, -1, -1)
    direction, pairs, gradient = Direction(None), steps(generator, 5), drawn(generator)
    torch.testing.assert_close(direction(gradient), -gradient)
    for moved, change in pairs:
        direction.remember(moved, change, torch.ones(DRAWS, dtype=torch.bool))
    torch.testing.assert_close(direction(gradient), expected(pairs, gradient, eye))


def test_the_first_matrix_is_the_metrics_inverse():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(DRAWS, WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    metric = root @ root.transpose(1, 2) + torch.eye(WIDTH, dtype=torch.float64)
    direction, gradient = Direction(torch.linalg.cholesky(metric)), drawn(generator)
    torch.testing.assert_close(direction(gradient), expected([], gradient, metric))
    pairs = steps(generator, 3)
    for moved, change in pairs:
        direction.remember(moved, change, torch.ones(DRAWS, dtype=torch.bool))
    torch.testing.assert_close(direction(gradient), expected(pairs, gradient, metric))


def test_a_draw_that_made_no_step_learns_nothing():
    generator = torch.Generator().manual_seed(2)
    (moved, change), gradient = steps(generator, 1)[0], drawn(generator)
    direction = Direction(None)
    direction.remember(moved, change, torch.tensor([True, False]))
    found = direction(gradient)
    torch.testing.assert_close(found[1], -gradient[1])
    assert not found[0].allclose(-gradient[0])


def test_only_the_last_twelve_steps_are_remembered():
    generator = torch.Generator().manual_seed(3)
    pairs, gradient = steps(generator, 15), drawn(generator)
    every, last = Direction(None), Direction(None)
    for number, (moved, change) in enumerate(pairs):
        every.remember(moved, change, torch.ones(DRAWS, dtype=torch.bool))
        if number >= 3:
            last.remember(moved, change, torch.ones(DRAWS, dtype=torch.bool))
    assert every(gradient).equal(last(gradient))
