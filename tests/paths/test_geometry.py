import numpy as np
import pytest
import torch
from scipy.integrate import quad

from connectivity_hooks.paths import Path
from connectivity_hooks.paths.geometry import arc_lengths


def test_length_of_a_polyline_is_the_sum_over_parameters_only():
    a = {"w": torch.zeros(3, 3), "running_mean": torch.zeros(2)}
    b = {"w": torch.full((3, 3), 2.0), "running_mean": torch.full((2,), 100.0)}
    c = {"w": torch.full((3, 3), 1.0), "running_mean": torch.zeros(2)}
    path = Path.from_points([a, b, c], positions=[0, 0.25, 1])
    assert arc_lengths(path, [0, 0.125, 0.25, 1], {"w"}) == pytest.approx([0, 3, 6, 9])


def test_length_of_a_bezier_curve_agrees_with_adaptive_quadrature():
    generator = torch.Generator().manual_seed(0)
    points = [{"w": torch.randn(4, generator=generator, dtype=torch.float64)} for _ in range(4)]
    control = np.stack([point["w"].numpy() for point in points])

    def speed(t):
        differences = np.diff(control, axis=0)
        return np.linalg.norm(
            3 * ((1 - t) ** 2 * differences[0] + 2 * t * (1 - t) * differences[1] + t**2 * differences[2])
        )

    path = Path.from_points(points, basis="bezier")
    assert arc_lengths(path, [0.4, 1], {"w"}) == pytest.approx([quad(speed, 0, 0.4)[0], quad(speed, 0, 1)[0]], rel=1e-6)
