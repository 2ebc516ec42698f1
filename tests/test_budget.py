"""Budgets as typed: every unit, every refusal in one line, and how much of one is used."""

import pytest

from connectivity_hooks.budget import Budget
from connectivity_hooks.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "amount", "unit"),
    [
        ("300steps", 300, "steps"),
        ("1step", 1, "steps"),
        (" 3epochs ", 3, "epochs"),
        ("0.5 epochs", 0.5, "epochs"),
        ("30s", 30, "seconds"),
        ("5m", 300, "seconds"),
        ("1.5h", 5400, "seconds"),
    ],
)
def test_what_is_typed_is_read(typed, amount, unit):
    assert Budget.parse(typed) == Budget(amount, unit)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "300",
        "steps",
        "-3steps",
        "0steps",
        "0s",
        "2.5steps",
        "1e9s",
        "nans",
        "infs",
        "3 weeks",
        "3s4",
        "٣steps",
        "9" * 400 + "s",
    ],
)
def test_what_is_none_is_refused_in_one_line(typed):
    with pytest.raises(UsageError) as refused:
        Budget.parse(typed, "--curve.budget")
    message = str(refused.value)
    assert message.startswith("--curve.budget: expected a budget such as 300steps")
    assert len(message) < 250
    assert "\n" not in message


@pytest.mark.parametrize("typed", ["300steps", "2epochs", "0.25epochs", "90s", "1234567890s"])
def test_it_is_written_as_it_can_be_typed(typed):
    assert Budget.parse(str(Budget.parse(typed))) == Budget.parse(typed)


@pytest.mark.parametrize(
    ("typed", "share", "left"), [("40steps", 0.25, 30), ("2epochs", 0.5, 10), ("0.55epochs", 1, 1), ("80s", 0.5, None)]
)
def test_how_much_is_used_and_left(typed, share, left):
    budget = Budget.parse(typed)
    assert budget.share(steps=10, epochs=1.0, seconds=40.0) == share
    assert budget.steps_left(10, batches=20 if typed != "2epochs" else 10) == left


def test_no_more_than_all_is_used():
    budget = Budget(5, "steps")
    assert budget.share(7, 0, 0) == 1
    assert budget.steps_left(7, 10) == 0


def test_only_the_clock_is_not_reproducible():
    assert Budget.parse("3epochs").is_reproducible
    assert not Budget.parse("3m").is_reproducible
