import pytest

from connectivity_hooks.errors import UsageError
from connectivity_hooks.watching.schedule import Clock, parse_schedule


def due_steps(every, steps=12, seconds=1.0, cost=0.0):
    """Return the steps at which a schedule is due, where a step takes `seconds` and a check `cost`."""
    schedule, clock, found = parse_schedule(every), Clock(), []
    if schedule.due(clock, "start"):
        found.append(0)
    for clock.step in range(1, steps + 1):
        clock.elapsed += seconds
        if schedule.due(clock, "step"):
            found.append(clock.step)
            clock.elapsed += cost
            clock.spent += cost
            schedule.done(clock, cost)
    return found


@pytest.mark.parametrize("every", [4, "4", "4 steps", " 4 STEPS "])
def test_steps(every):
    assert due_steps(every) == [4, 8, 12]


def test_epochs_are_due_when_they_end():
    schedule = parse_schedule("2 epochs")
    assert [epoch for epoch in range(1, 7) if schedule.due(Clock(step=7, epoch=epoch), "epoch")] == [2, 4, 6]
    assert not schedule.due(Clock(step=7, epoch=2), "step")
    assert parse_schedule("1 epoch").due(Clock(epoch=1), "epoch")


@pytest.mark.parametrize(("every", "seconds"), [("30 s", 30), ("10 min", 600), ("1h", 3600), ("0.5 s", 0.5)])
def test_time_is_counted_from_the_end_of_the_last_check(every, seconds):
    assert due_steps(every, steps=9, seconds=seconds / 2, cost=100) == [2, 4, 6, 8]


def test_named_steps_and_the_start():
    assert due_steps([0, 3, 5]) == [0, 3, 5]
    assert due_steps(range(2, 5)) == [2, 3, 4]


def test_a_share_of_the_time_is_kept():
    assert due_steps("1 %", steps=1000, seconds=1.0, cost=2.0) == [1, 399, 597, 795, 993]
    assert due_steps("50%", steps=9, seconds=1.0, cost=2.0) == [1, 7, 9]


@pytest.mark.parametrize(
    "every", [0, -1, True, "0", "1.5 steps", "x", "5 parsecs", "0 s", "0 %", "101 %", [], [1.5], 2.5]
)
def test_what_is_no_schedule_is_refused(every):
    with pytest.raises(UsageError, match="every: expected a number of steps"):
        parse_schedule(every)
