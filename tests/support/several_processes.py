"""Running a function in two processes that talk over gloo."""

import datetime
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(function, tmp_path, *arguments):
    """Run `function(rank, *arguments)` on two processes; raise what fails in either."""
    rendezvous = tmp_path / "rendezvous"
    mp.start_processes(_process, (function, str(rendezvous), arguments), nprocs=2, start_method="spawn")


def _process(rank, function, rendezvous, arguments):
    torch.set_num_threads(1)
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)})
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    try:
        function(rank, *arguments)
        dist.barrier()
    finally:
        dist.destroy_process_group()
