"""A folder for each kind of network, with its user's file and two checkpoints."""

import json

import pytest
from kinds import inside, status_of, workspace


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Return a function that gives a kind's folder, made once."""
    made = {}

    def folder_of(kind):
        if kind not in made:
            made[kind] = workspace(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder_of


@pytest.fixture
def typed(folder_of, capfd):
    """Return a function that runs a command line in a kind's folder and gives (status, stdout, stderr)."""

    def typed(kind, *words):
        with inside(folder_of(kind)):
            capfd.readouterr()
            status = status_of([str(word) for word in words])
        return status, *capfd.readouterr()

    return typed


@pytest.fixture
def report_of(typed):
    """Return a function that runs a command with ``--json`` in a kind's folder and gives what it printed."""

    def report_of(kind, *words, status=0):
        found, out, err = typed(kind, *words, "--json")
        assert found in ((0, 4) if status is None else (status,)), err
        return json.loads(out)

    return report_of
