"""stdout, stderr and signals: what a script that runs the program relies on."""

import json
import os
import signal
import subprocess
import sys

import pytest

CONNECT = [sys.executable, "-c", "from connectivity_hooks.cli import connect; connect()"]

TALKATIVE = """
import os, sys
from torch import nn

print("import")

class Talkative(nn.Linear):
    def forward(self, x):
        print("forward")
        os.write(1, b"raw\\n")
        return super().forward(x)

def make():
    print("make")
    return nn.Sequential(nn.Flatten(), Talkative(36, 3))

def closing():
    sys.stdout.close()
    return make_quiet()

def replacing():
    sys.stdout = None
    return make_quiet()

def make_quiet():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
"""

STARTING = """
import os, sys, signal, time
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{signal})
            time.sleep(5)
sys.meta_path.insert(0, Finder())
from connectivity_hooks.cli import connect
connect()
"""


@pytest.fixture
def linear_ends(workspace, tmp_path):
    import torch
    from torch import nn

    import connectivity_hooks as ch

    (tmp_path / "net.py").write_text(TALKATIVE)
    for seed, name in enumerate("ab"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            ch.save(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), tmp_path / f"{name}.safetensors")
    words = ["connect", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--data", workspace / "data.npz"]
    return lambda callable: [*words, "--model", f"{tmp_path}/net.py:{callable}", "--points", "3", "--refine", "0"]


@pytest.mark.parametrize("made_by", ["make", "closing", "replacing"])
def test_json_is_alone_on_stdout_whatever_the_users_code_does(run, linear_ends, made_by):
    before = sys.stdout
    status, out, _ = run(*linear_ends(made_by), "--json")
    assert status == 0
    assert json.loads(out)
    assert out.count("\n") == 1
    assert sys.stdout is before


def test_what_code_prints_at_exit_is_not_on_stdout(linear_ends, tmp_path):
    with open(tmp_path / "net.py", "a") as file:
        file.write("import atexit\natexit.register(lambda: (print('late'), os.write(1, b'late')))\n")
    words = [str(word) for word in linear_ends("make")[1:]]
    done = subprocess.run([*CONNECT, *words, "--json"], capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert "late" in done.stderr


@pytest.mark.parametrize("threads", ["100000", "9" * 30, "0"])
def test_more_threads_than_a_process_can_have_are_wrong_usage(run, ends, threads):
    status, _, err = run(*ends, "--threads", threads)
    assert status == 2
    assert err.splitlines()[-1].startswith("Error: Invalid value for '--threads'")


def test_a_closed_stdout_and_a_full_stderr_change_no_status(linear_ends):
    words = [str(word) for word in linear_ends("make_quiet")[1:]]
    program = [*CONNECT, *words]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *program], stderr=subprocess.PIPE, text=True)
    assert (closed.returncode, "Traceback" in closed.stderr) == (0, False)
    refused = [*CONNECT, "/nowhere/a.safetensors", *words[1:]]
    assert subprocess.run(["sh", "-c", '"$@" 2>/dev/full', "sh", *refused]).returncode == 3
    assert subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *refused]).returncode == 3


@pytest.mark.parametrize("module", ["torch", "numpy", "connectivity_hooks.cli.connect"])
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_while_it_starts_is_one_line(linear_ends, module, name, status):
    assert hasattr(signal, name)
    program = [sys.executable, "-c", STARTING.format(module=module, signal=name)]
    words = [str(word) for word in linear_ends("make_quiet")[1:]]
    done = subprocess.run([*program, *words], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == status
    assert done.stderr.count("\n") == 1, done.stderr
