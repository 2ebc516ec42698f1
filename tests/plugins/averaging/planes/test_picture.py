"""Pictures of landscapes: readable levels, and what is not finite drawn as such."""

import itertools
import math

import pytest

from connectivity_hooks_averaging.planes.grid import Grid, around
from connectivity_hooks_averaging.planes.landscape import Landscape, Marked
from connectivity_hooks_averaging.planes.levels import levels_of
from connectivity_hooks_averaging.planes.picture import figure_of
from connectivity_hooks_averaging.scores import Score


def test_levels_are_round_and_rise():
    levels = levels_of([0.003 * 1.4**i for i in range(20)], None)
    assert levels == sorted(levels)
    assert set(levels) <= {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0}
    assert len(levels) >= 5


def test_levels_stop_where_guessing_is_long_better():
    assert max(levels_of([10.0**i for i in range(-3, 30)], guessing=2.3)) <= 23


def test_levels_reach_down_from_there_where_all_but_a_few_places_are_worse():
    levels = levels_of([0.0, 60.0, *[1e4] * 200], guessing=1.1)
    assert levels == [0.5, 1.0, 2.0, 5.0, 10.0]


@pytest.mark.parametrize("values", [[], [0.0], [1.0], [1.0, 1.01], [math.inf, 3e-7], [1e300, 1e-300]])
def test_there_are_two_levels_at_least(values):
    levels = levels_of(values, None)
    assert len(levels) >= 2
    assert all(a < b for a, b in itertools.pairwise(levels))


def test_a_grid_holds_all_places_and_a_margin():
    grid = around([(0.0, 0.0), (7.1234, 0.0), (3.0, 5.0)], 0.2, 5)
    (left, *_, right), (low, *_, high) = grid.axes
    assert left <= -0.2 * 7.1234
    assert right >= 1.2 * 7.1234
    assert low <= -0.2 * 7.1234
    assert high >= 5 + 0.2 * 7.1234
    assert len(grid.places()) == 25


def landscape(losses):
    grid = Grid(((0.0, 1.0, 2.0), (0.0, 1.0, 2.0)))
    scores = tuple({"train": Score(loss, None)} for loss in losses)
    corner = {"train": Score(0.5, None)}
    points = (Marked("a$", "corner", None, (0.0, 0.0), 0.0, corner, corner),)
    facts = {"guessing": {"train": None}, "correction": {}, "about": {}, "task": {}, "notes": ()}
    return Landscape("plane", grid, scores, points, (False,) * 9, ("x", "y"), mixes_statistics=False, **facts)


@pytest.mark.parametrize(
    "losses",
    [
        [math.inf] * 9,
        [1.0] * 9,
        [math.inf] * 8 + [1.0],
        [1.0, 2.0, 3.0, 4.0, 1e30, 5.0, math.inf, 7.0, 8.0],
        [0.1 * i for i in range(9)],
    ],
)
def test_every_landscape_is_drawn(losses):
    figure = figure_of(landscape(losses))
    figure.draw_without_rendering()
    title = figure.axes[0].get_title()
    assert ("crossed" in title) == any(map(math.isinf, losses))


def test_ticks_of_a_logarithmic_axis_are_plain_numbers():
    grid = Grid(((-1.0, 0.0, 1.0),))
    scores = tuple({"train": Score(loss, None)} for loss in (1e4, 0.01, math.inf))
    facts = {"guessing": {"train": None}, "correction": {}, "about": {}, "task": {}, "notes": ()}
    line = Landscape("slice", grid, scores, (), (False,) * 3, ("x",), mixes_statistics=False, **facts)
    figure = figure_of(line)
    figure.draw_without_rendering()
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels(which="both")]
    assert {"0.01", "100"} <= set(texts)
    assert not any("$" in text for text in texts)
