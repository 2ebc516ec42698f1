"""A stranger's plugin with a builder that works long, installed; a small task and two ends in files."""

import importlib

import bending_plugin
import pytest
import torch
from small_networks import NETWORK, mlp, trained, vector_task

import connectivity_hooks as ch
from connectivity_hooks.cli.connect import command as connect_command
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks.contracts import hookspecs
from connectivity_hooks.registry import registry


def installed(folder):
    """Leave the plugin in a folder as pip would; it counts once the folder is on the path."""
    info = folder / "bending-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bending\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{hookspecs.PROJECT}]\nbending = bending_plugin\n")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return the plugin, which has heard nothing and run nothing yet."""
    installed(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    registry.cache_clear()
    bending_plugin.told.clear()
    bending_plugin.ran.clear()
    yield bending_plugin
    registry.cache_clear()


@pytest.fixture
def heard(plugin):
    """Return a function that says what was told since it was asked last: (kind, builder) in order."""

    def heard():
        news = [(kind, builder) for kind, builder, _ in plugin.told]
        plugin.told.clear()
        return news

    return heard


@pytest.fixture(scope="session")
def task():
    return vector_task(lambda: mlp(12))


@pytest.fixture(scope="session")
def ends(task, tmp_path_factory):
    """Return two files with checkpoints of the task."""
    folder = tmp_path_factory.mktemp("ends")
    for seed, name in enumerate("ab"):
        model = task.factory()
        model.load_state_dict(trained(task, seed, steps=40))
        ch.save(model, folder / f"{name}.safetensors")
    return folder / "a.safetensors", folder / "b.safetensors"


@pytest.fixture
def words(tmp_path):
    """Return the task's flags on the command line."""
    (tmp_path / "net.py").write_text(NETWORK)
    return ["--model", f"{tmp_path}/net.py:make", "--data", f"{tmp_path}/net.py:data", "--device", "cpu"]


@pytest.fixture
def run(capfd):
    """Return a function that runs a command line and gives its status."""

    def run(*given):
        given = [str(word) for word in given]
        if given[0] == "connect":
            return exit_status("connect", lambda: connect_command, given[1:])
        return exit_status("connectivity-hooks", lambda: group, given)

    return run


class Killed(KeyboardInterrupt):
    """Stands for SIGKILL."""


@pytest.fixture
def always_due(monkeypatch):
    """Let a state be saved whenever it may be, however quick the machine."""
    from connectivity_hooks.connecting import state_file

    monkeypatch.setattr(state_file, "_SHARE", 1e9)


@pytest.fixture
def kill_after(monkeypatch):
    """Return a function that lets the process die, as it were, right after so many saves of a state."""
    from connectivity_hooks.connecting.state_file import StateFile

    save = StateFile.save

    def kill_after(count):
        left = [count]

        def dying(self, tensors, note=None):
            save(self, tensors, note)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(StateFile, "save", dying)
        return Killed

    return kill_after


def equal(path, other):
    """Say whether two paths are equal at every point, bit for bit."""
    return all(
        all(torch.equal(tensor, there[name]) for name, tensor in here.items())
        for here, there in zip(path.points(), other.points(), strict=True)
    )


@pytest.fixture(name="equal")
def equal_fixture():
    return equal
