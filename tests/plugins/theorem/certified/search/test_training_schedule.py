"""Schedules: epochs, steps and rates."""

from types import SimpleNamespace

import pytest

from connectivity_hooks_theorem.certified.search.training_schedule import TrainingSchedule


def features(count, maps=False):
    return SimpleNamespace(count=count, are_maps=maps)


def test_a_shorter_schedule_has_as_many_steps_in_proportion():
    short = TrainingSchedule(20, steps=600).shortened(8)
    assert (short.epochs, short.steps, short.maps) == (8, 240, TrainingSchedule(20).maps)


@pytest.mark.parametrize(
    ("count", "maps", "size"), [(240, False, 32), (10_000, False, 100), (60_000, False, 500), (60_000, True, 100)]
)
def test_a_step_takes_a_hundredth_of_the_samples_within_bounds(count, maps, size):
    assert TrainingSchedule(10).batch_size(features(count, maps)) == size


def test_small_data_is_gone_through_more_often():
    schedule = TrainingSchedule(10, steps=600)
    assert schedule.epochs_of(features(60_000)) == 10
    epochs = schedule.epochs_of(features(250))  # 32 samples a step
    assert epochs * 250 / 32 >= 600 > (epochs - 1) * 250 / 32


def test_maps_have_their_own_rates():
    schedule = TrainingSchedule(10, flat=(1.0, 2.0), maps=(3.0, 4.0))
    assert [schedule.rates(features(1, maps)) for maps in (False, True)] == [(1.0, 2.0), (3.0, 4.0)]
