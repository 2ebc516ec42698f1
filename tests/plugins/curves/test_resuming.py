"""A training that is killed goes on to the same curve, bit for bit on the processor, wherever it was killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace

import pytest
import torch
from curve_modules import N, end_of, task_of
from curve_works import Kept, Killed
from curve_works import through_deaths as trained_through
from small_networks import NETWORK, mlp, trained, vector_task
from torch import nn

import connectivity_hooks as ch
import connectivity_hooks_curves.training.run as run
from connectivity_hooks.contracts import make_options
from connectivity_hooks.model.batches import Batch
from connectivity_hooks.tasks.batched import BatchedSplit
from connectivity_hooks_curves.bezier import Options
from connectivity_hooks_curves.training.training import train_curve

SUPPORT = pathlib.Path(__file__).parents[2] / "support"


def train(task, work, **options):
    given = make_options(Options, {"budget": "70steps", "batch_size": 16, "bends": 2, **options}, "bezier")
    return train_curve(end_of(task, 1), end_of(task, 2), task, "bezier", given.bends, given, seed=5, work=work)


def through_deaths(task, *deaths, **options):
    """Return what is trained by a process that is killed after so many saves, and started anew each time."""
    return trained_through(lambda work: train(task, work, **options), *deaths)


def assert_same(found, whole):
    assert (found.steps, found.losses, found.note) == (whole.steps, whole.losses, whole.note)
    for here, there in zip(found.points, whole.points, strict=True):
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def spectral():
    """Return a network that keeps u and v, batch norm's statistics in use, a moving average, and draws at random."""
    return nn.Sequential(Moving(), torch.nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)), nn.Dropout(0.2))


class Moving(nn.Module):
    """Divides by a moving average of its own, which no state dict holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("size", torch.ones(5), persistent=False)

    def forward(self, x):
        if self.training:
            self.size = 0.9 * self.size + 0.1 * x.detach().abs().mean(0)
        return x / self.size


def padded(task):
    """Return the task with its samples in batches of other lengths, as tokens come."""
    generator = torch.Generator().manual_seed(3)
    batches: list[Batch] = []
    for length, count in ((3, 9), (5, 17), (2, 1), (4, 7)):
        tokens = torch.randint(0, 7, (count, length), generator=generator)
        inputs = {"tokens": tokens, "scale": torch.rand(count, generator=generator, dtype=task.dtype)}
        batches.append((inputs, tokens.roll(1, 1)))
    return replace(task, train=BatchedSplit("train", batches, task.device, task.dtype))


TASKS = {
    "plain": lambda: task_of("plain"),
    "spectral": lambda: replace(task_of("normed"), factory=spectral),
    "augmented": lambda: replace(task_of("normed"), augment=lambda x: x + 0.1 * torch.randn_like(x)),
    "padded": lambda: padded(task_of("recurrent")),
    "mixed": lambda: task_of("mixed"),
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_training_killed_again_and_again_ends_at_the_same_curve(kind):
    task = TASKS[kind]()
    whole = train(task, Kept())
    found, work = through_deaths(task, 1, 13, 50, 51, 69)
    assert_same(found, whole)
    assert work.saved == 70  # no step was taken twice


def test_epochs_of_padded_batches_are_counted_by_samples():
    task = padded(task_of("recurrent"))
    whole = train(task, Kept(), budget="3epochs", batch_size=8)
    assert whole.steps == 3 * (1 + 2 + 1)  # the batches of one sample are left out
    found, _ = through_deaths(task, 4, 6, budget="3epochs", batch_size=8)
    assert_same(found, whole)


def test_what_went_wrong_is_the_same_after_a_kill():
    task = replace(task_of("plain"), augment=lambda x: x * (1e400 if torch.rand(()) < 0.01 else 1.0))
    whole = train(task, Kept(), budget="400steps")
    assert "was not finite at step" in whole.note
    assert whole.steps > 55
    found, _ = through_deaths(task, 51, 54, budget="400steps")
    assert_same(found, whole)


def test_a_time_budget_goes_on_with_the_seconds_that_were_used(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)

    def monotonic():
        clock.now += 0.25
        return clock.now

    monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=monotonic))
    whole = train(task_of("plain"), Kept(), budget="40s")
    clock.now = 1e6  # another process, another clock
    found, work = through_deaths(task_of("plain"), 20, budget="40s")
    assert work.state.note["seconds"] == pytest.approx(40, abs=1.5)
    assert found.steps == pytest.approx(whole.steps, abs=3)


def test_the_state_is_small():
    work = Kept(60)
    with pytest.raises(Killed):
        train(task_of("plain"), work)
    parameters = sum(tensor.numel() for tensor in end_of(task_of("plain"), 1).values())
    assert sum(tensor.numel() for tensor in work.state.tensors.values()) < 2 * (4 * parameters) + 3 * N
    assert set(work.state.note) == {"step", "seconds", "own", "batches"}


KILLED = """
import pathlib, sys, time
sys.path[:0] = [{support!r}]
import torch
from connectivity_hooks.connecting import state_file

state_file._SHARE = 1e9  # due after every step
save, place = state_file.StateFile.save, pathlib.Path(sys.argv.pop(1))

def slow(self, tensors, note=None):
    save(self, tensors, note)
    (place / "steps").open("a").write(f"{{note['step']}}\\n")
    while (place / "stop").exists() and note["step"] >= 5:
        time.sleep(0.01)

state_file.StateFile.save = slow
from connectivity_hooks.cli import connect
connect()
"""


def test_a_command_that_is_killed_goes_on(tmp_path):
    task = vector_task(lambda: mlp(12))
    ends = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, end in enumerate(ends):
        model = task.factory()
        model.load_state_dict(trained(task, seed, steps=20))
        ch.save(model, end)
    (tmp_path / "net.py").write_text(NETWORK)
    words = [*ends, "--model", f"{tmp_path}/net.py:make", "--data", f"{tmp_path}/net.py:data", "--device", "cpu"]
    words += ["--builder", "bezier", "--bezier.budget", "12steps", "--points", 3, "--refine", 0]
    program = [sys.executable, "-c", KILLED.format(support=str(SUPPORT)), tmp_path, *words, "--out"]
    command = [str(word) for word in program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    (tmp_path / "stop").touch()
    process = subprocess.Popen([*command, str(tmp_path / "out")], env=environment, stderr=subprocess.DEVNULL)
    steps = tmp_path / "steps"
    while process.poll() is None and not (steps.exists() and steps.read_text().endswith("5\n")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (tmp_path / "stop").unlink()
    assert subprocess.run([*command, str(tmp_path / "out")], env=environment, capture_output=True).returncode == 0
    assert steps.read_text().split() == [str(step) for step in range(1, 13)]
    found = ch.Path.load(tmp_path / "out" / "bezier.path.safetensors")
    whole = ch.connect(*ends, task, builder="bezier", options={"budget": "12steps"})
    for name, tensor in whole.point(1).items():
        torch.testing.assert_close(found.point(1)[name], tensor, rtol=1e-4, atol=1e-6)  # two processes, two roundings
    assert not list((tmp_path / "out").glob("*unfinished*"))
