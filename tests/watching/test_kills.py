"""A watched training that is killed and started again ends as one that ran through."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "kills_watch.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs the benchmarks of the repository")
@pytest.mark.parametrize("mode", ["probe", "training"])
def test_a_few_kills_at_random_moments_change_nothing(mode):
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "1", "--mode", mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "3 kills" in done.stdout
