"""Options given twice, and plugins left out that are not there."""

import pytest

from connectivity_hooks.cli import entry
from connectivity_hooks.errors import UsageError
from connectivity_hooks.registry.registry import BLOCKED, registry


@pytest.mark.parametrize(
    ("twice", "option"),
    [
        (["--correct", "a", "--correct", "b"], "--correct"),
        (["--output=a", "--output", "b"], "--output"),
        (["--seed", 1, "--seed", 1], "--seed"),
        (["--loss-is-convex", "--loss-is-not-convex"], "--loss-is-convex"),
        (["--batch-norm.samples", 10, "--batch-norm.samples", 20], "--batch-norm.samples"),
    ],
)
def test_the_last_of_two_values_does_not_win_silently(run, ends, twice, option):
    status, _, err = run(*ends, *twice)
    assert status == 2
    assert f"{option} is given 2 times; give it once" in err


@pytest.mark.parametrize("command", ["check", "stability", "star", "sample", "verify"])
def test_every_command_is_held_to_it(run, command):
    flag = "--dtype"
    status, _, err = run(command, "x", flag, "float32", flag, "float64")
    assert (status, f"{flag} is given 2 times" in err) == (2, True)


def test_what_may_be_repeated_is(run, ends, tmp_path):
    assert run(*ends, "--builder", "linear", "--builder", "linear", "--json", "--json", "--out", tmp_path)[0] == 0


def test_a_plugin_that_is_not_there_cannot_be_left_out(monkeypatch):
    monkeypatch.setenv(BLOCKED, "")
    plugin = next(iter(registry().builders.values())).origin.plugin
    for words in (["--block", "nonsense"], ["--block=nonsense"], ["--block", f"{plugin},nonsense"]):
        with pytest.raises(UsageError, match=r"--block nonsense: no plugin of that name is installed; known: "):
            entry._block_plugins(words)
    with pytest.raises(UsageError, match=f"did you mean '{plugin}'"):
        entry._block_plugins(["--block", f"{plugin}x"])
    entry._block_plugins(["--block", plugin])
