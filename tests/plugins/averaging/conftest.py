"""Copies and strangers, trained once; and the plugin's commands, called in this process without their entry point."""

import pytest
from soups import write_all

from connectivity_hooks.cli.entry import exit_status


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return (folder, task)."""
    folder = tmp_path_factory.mktemp("soups")
    return folder, write_all(folder)


@pytest.fixture
def run(capfd):
    def run(command, *words):
        status = exit_status(command.name, lambda: command, [*map(str, words)])
        out, err = capfd.readouterr()
        return status, out, err

    return run
