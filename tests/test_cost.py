"""What work costs: seconds and memory at the peak, with what interrupted runs cost before."""

import pathlib
import time

import pytest
import torch

from connectivity_hooks.cost import Cost, Meter

CPU = torch.device("cpu")


def test_seconds_are_those_of_the_block():
    with Meter(CPU) as meter:
        time.sleep(0.05)
    took = meter.cost.seconds
    time.sleep(0.05)
    assert meter.cost.seconds == took  # it ended with the block
    assert took >= 0.05


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_memory_is_what_was_taken_at_the_peak_and_given_back_since():
    size = 200_000_000
    with Meter(CPU) as meter:
        held = torch.ones(size, dtype=torch.uint8)
        time.sleep(0.2)  # some looks
        del held
    assert 0.9 * size < meter.cost.memory < 1.5 * size
    with Meter(CPU) as meter:
        pass
    assert meter.cost.memory < 0.1 * size


def test_what_interrupted_runs_cost_counts():
    assert Cost(2.0, 10).after(Cost(3.0, 30)) == Cost(5.0, 30)
    assert Cost(2.0, None).after(Cost(3.0, 30)) == Cost(5.0, 30)
    assert Meter(CPU, earlier=Cost(7.0, 3)).cost == Cost(7.0, 3)  # not begun
    with Meter(CPU, earlier=Cost(7.0, 10**15)) as meter:
        pass
    assert (7.0 < meter.cost.seconds < 60.0, meter.cost.memory) == (True, 10**15)
