"""What watching costs: time is reported, memory stays flat."""

import gc
import time
import tracemalloc

import pytest
import torch
from torch import nn
from watched_training import Mean, data

import connectivity_hooks as ch
from connectivity_hooks.contracts import Condition, Verdict

X, Y = data()


class Slow(Condition):
    """Takes a tenth of a second."""

    name = "slow"

    def check(self, observation):
        """Wait, then answer."""
        time.sleep(0.1)
        yield Verdict(self.name, None, True, 1.0, 0.0, "")


def test_time_spent_is_measured_and_is_part_of_the_time_that_passed(net):
    with ch.watch(net, (X, Y), conditions=[Slow()], every=1, at_end=False) as watch:
        before = watch.seconds
        watch.step()
        watch.step()
        time.sleep(0.2)
        assert watch.seconds - before >= 0.2
        assert watch.elapsed >= watch.seconds + 0.2
    assert watch.history[0].spent >= 0.1
    assert watch.history[1].spent >= 0.2


def test_the_default_schedule_waits_until_a_check_is_paid_off(net):
    with ch.watch(net, (X, Y), conditions=[Slow()], at_end=False) as watch:
        for _ in range(1000):
            watch.step()
    assert len(watch.history) == 1


def test_hooks_are_part_of_the_time_in_training_mode(net):
    with ch.watch(net, mode="training", capture_every=1, conditions=[Mean()], every=10**6, at_end=False) as watch:
        before = watch.seconds
        for _ in range(50):
            net(X)
        assert watch.seconds > before
        watch.step(None)


@pytest.mark.parametrize("mode", ["probe", "training"])
def test_10_000_steps_leave_memory_flat(mode):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    options = {"mode": mode, "samples": 64} if mode == "training" else {"probe": (X[:16], Y[:16])}
    tensors, traced = [], []
    tracemalloc.start()
    try:
        with ch.watch(model, conditions=[Mean()], every=100, at_end=False, **options) as watch:
            for step in range(1, 10_001):
                model(X[:8]).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
                watch.step(Y[:8] if mode == "training" else None)
                if step in (1_050, 9_950):
                    gc.collect()
                    tensors.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
                    traced.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    rows = len(watch.history)
    assert rows >= 90
    assert tensors[1] <= tensors[0]
    assert traced[1] - traced[0] < 1000 * rows  # the rows of the history, and nothing else
