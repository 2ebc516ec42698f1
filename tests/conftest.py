"""What holds for every test: one thread, and the processor, where figures are the same bit for bit.

Networks of tests are small, and threads that share a core wait for each other; another number may be asked for by
OMP_NUM_THREADS, except of workers that run side by side. Only tests marked ``gpu`` see a GPU.
"""

import importlib
import os
import pathlib
import sys
from unittest import mock

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the commands that tests start

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Hide GPUs from a test that is not about them, and from the commands it starts."""
    if item.get_closest_marker("gpu"):
        return (yield)
    hidden = mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""})
    with hidden, mock.patch("torch.cuda.is_available", return_value=False):
        return (yield)


@pytest.fixture
def script(monkeypatch):
    """Import files of benchmarks/ by name, and forget them after the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def run(capfd):
    """Return a function that runs a command line in this process and gives (status, stdout, stderr)."""
    from connectivity_hooks.cli.connect import command as connect_command
    from connectivity_hooks.cli.entry import exit_status
    from connectivity_hooks.cli.group import group

    def run(*words):
        words = [str(word) for word in words]
        if words[0] == "connect":
            status = exit_status("connect", lambda: connect_command, words[1:])
        else:
            status = exit_status("connectivity-hooks", lambda: group, words)
        return status, *capfd.readouterr()

    return run
