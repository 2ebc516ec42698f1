"""What is shown while something works long."""

import sys

import pytest

from connectivity_hooks.cli import terminal
from connectivity_hooks.cli.terminal import Display


@pytest.fixture
def shown(monkeypatch):
    """Return the descriptions a bar gets, of a display that somebody looks at."""
    found = []

    class Bars(terminal.Bars):
        def add_task(self, description, **given):
            found.append((description, given["total"]))
            return super().add_task(description, **given)

        def update(self, task, **given):
            found.append((given["description"], given["advance"]))
            super().update(task, **given)

    monkeypatch.setattr(terminal, "Bars", Bars)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return found


def test_a_label_that_changes_is_shown_as_it_is_at_every_item(shown):
    losses = [3, 2, 1]
    for _ in Display(quiet=True).track(range(2), lambda: f"loss {losses[0]}", 2):
        losses.pop(0)
    assert shown == [("loss 3", 2), ("loss 2", 1), ("loss 1", 1)]


def test_a_label_that_stays_and_items_without_a_number_are_shown(shown):
    assert list(Display(quiet=True).track(iter("ab"), "reading")) == ["a", "b"]
    assert shown == [("reading", None), ("reading", 1), ("reading", 1)]


@pytest.mark.parametrize(
    ("columns", "tty", "width"),
    [("72", False, 72), ("72", True, 72), (None, False, None), ("0", False, None), ("-3", False, None)],
)
def test_results_take_the_columns_that_are_asked_for(monkeypatch, columns, tty, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert terminal.terminal_width() == width


def test_results_take_the_columns_of_the_terminal(monkeypatch):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stream, open(ours, "rb"):
        monkeypatch.setattr(sys, "stdout", stream)
        termios.tcsetwinsize(theirs, (24, 91))
        assert terminal.terminal_width() == 91
        termios.tcsetwinsize(theirs, (0, 0))
        assert terminal.terminal_width() == 80
