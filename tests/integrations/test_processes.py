"""Each host in two processes that talk over gloo: one report, and no process waits for another."""

import importlib.util

import pytest
import torch.distributed as dist
from hosted_processes import hosts
from several_processes import run

import connectivity_hooks as ch

HOSTS = {
    "timm": "timm.task",
    "lightning": "lightning.pytorch",
    "transformers": "transformers",
    "accelerate": "accelerate",
}


@pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")
def test_in_every_host_the_first_process_reports_and_none_waits(tmp_path):
    names = [name for name, module in HOSTS.items() if importlib.util.find_spec(name) and pytest.importorskip(module)]
    if not names:
        pytest.skip("needs timm, lightning, transformers or accelerate")
    if "timm" in names:
        importlib.import_module("timm_training").images(tmp_path / "timm" / "images", 6)
    run(hosts, tmp_path, tmp_path, names)
    for name in names:
        rows = ch.watching.read_history(tmp_path / name / "watch")
        assert len({(row.step, row.layer) for row in rows}) == len(rows) > 0, name
        assert rows[0].step == 2, name
