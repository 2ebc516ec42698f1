"""One thread for each worker: networks of tests are small, and threads that share a core wait for each other.

Another number may be asked for by OMP_NUM_THREADS, except of workers that run side by side.
"""

import importlib
import os
import pathlib
import sys

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the commands that tests start

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import files of benchmarks/ by name, and forget them after the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
