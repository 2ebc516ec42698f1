"""Effort: which rounds of training are tried."""

import pytest

from connectivity_hooks_theorem.certified.search.effort import EFFORTS


@pytest.mark.parametrize("effort", EFFORTS.values(), ids=EFFORTS)
def test_a_warm_start_splits_the_first_round_alone(effort):
    fresh, warm = effort.schedules(warm=False), effort.schedules(warm=True)
    assert len(fresh) == effort.rounds
    assert set(fresh) == {effort.schedule}
    assert warm[2:] == fresh[1:]
    assert warm[0].epochs == effort.warm
    for count in ("epochs", "steps"):
        assert getattr(warm[0], count) + getattr(warm[1], count) == getattr(effort.schedule, count)
    assert all(part.maps == effort.schedule.maps for part in warm)


def test_more_effort_never_does_less():
    quick, normal, thorough = (EFFORTS[name] for name in ("quick", "normal", "thorough"))
    for less, more in ((quick, normal), (normal, thorough)):
        for field in ("hidden", "warm", "rounds"):
            assert getattr(less, field) <= getattr(more, field)
        for field in ("refit", "held_out", "good_enough"):
            assert getattr(less, field) >= getattr(more, field)
        assert less.schedule.epochs < more.schedule.epochs
