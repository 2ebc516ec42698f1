"""Watching in a training of two processes: one report, no process waits for another, sharded weights are refused."""

import pytest
import torch
import torch.distributed as dist
from several_processes import run
from torch import nn
from watched_processes import ddp, only_one_checks, sharded

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError
from connectivity_hooks.processes import refuse_sharded

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")


@pytest.mark.parametrize("mode", ["probe", "training"])
def test_under_ddp_the_first_process_reports_and_none_waits(tmp_path, mode):
    run(ddp, tmp_path, tmp_path, mode)
    rows = ch.watching.read_history(tmp_path)
    steps_found = [row.step for row in rows]
    assert sorted(set(steps_found)) == ([0, 2, 4, 6] if mode == "probe" else [2, 4, 6])
    assert len(steps_found) == 2 * len(set(steps_found))
    assert {file.name for file in (tmp_path / "saved").iterdir()} >= {"step_00000002.safetensors"}


def test_a_check_needs_nothing_of_the_other_processes(tmp_path):
    run(only_one_checks, tmp_path)


@pytest.mark.skipif(
    not hasattr(torch.cpu.current_stream(), "record_event"), reason="needs PyTorch 2.7 for FSDP2 on the CPU"
)
def test_under_fsdp2_what_would_wait_forever_is_refused_and_training_mode_works(tmp_path):
    run(sharded, tmp_path, tmp_path)


def test_a_tensor_spread_over_processes_is_refused_by_name():
    class Spread(nn.Parameter):
        def full_tensor(self):
            raise AssertionError("a collective")

    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight = Spread(torch.zeros(2, 2))
    with pytest.raises(UsageError, match=r"0\.weight is a DTensor.*mode='training'"):
        refuse_sharded(model, "a probe forward")
