"""Names beside points: none covers another, and each is on the side of its own point."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from connectivity_hooks_averaging.planes.plates import Name, write_names


def boxes(names):
    figure = Figure(figsize=(5, 4))
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlim=(-3, 4), ylim=(-3, 17))
    write_names(axes, names)
    canvas.draw()
    return [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts], axes  # without their lines


@pytest.mark.parametrize("near", [0.05, 0.3, 0.48])
def test_names_of_near_points_lie_apart_and_on_their_own_sides(near):
    names = [Name("first", (0.0, 0.0)), Name("second", (near, 0.0)), Name("far", (0.9, 14.6))]
    found, axes = boxes(names)
    for one, other in itertools.combinations(found, 2):
        assert not one.overlaps(other)
    assert found[0].x1 < axes.transData.transform((0, 0))[0]
    assert found[1].x0 > axes.transData.transform((near, 0))[0]


def test_many_names_in_one_place_are_all_read():
    found, _ = boxes([Name(f"checkpoint {number}", (0.1 * number, 0.0)) for number in range(6)])
    for one, other in itertools.combinations(found, 2):
        assert not one.overlaps(other)
