"""A certified path in a file, with its checkpoints."""

from dataclasses import dataclass, replace
from pathlib import Path as File

import pytest
from small_networks import mlp, trained, vector_task

import connectivity_hooks as ch
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import Task


@dataclass(frozen=True)
class Proven:
    """A task, its path, the path's file and the two checkpoints."""

    task: Task
    path: Path
    file: File
    checkpoints: tuple[File, File]


@pytest.fixture(scope="session")
def proven(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proven")
    task = vector_task(lambda: mlp(24, 25, 24))
    checkpoints = folder / "a.safetensors", folder / "b.safetensors"
    for seed, file in enumerate(checkpoints):
        net = task.factory()
        net.load_state_dict(trained(task, seed))
        ch.save(net, file)
    path = ch.connect(*checkpoints, task, builder="certified", options={"effort": "quick"})
    path.save(folder / "p.path.safetensors")
    return Proven(task, path, folder / "p.path.safetensors", checkpoints)


@pytest.fixture
def tampered(proven, tmp_path):
    """Return a function that writes a path whose points or guarantees were changed, and returns its file."""

    def write(change=lambda points: points, guarantees=lambda kinds: kinds):
        points = [{name: tensor.clone() for name, tensor in point.items()} for point in proven.path.points()]
        changed = Path.from_points(
            change(points), positions=proven.path.positions, guarantees=guarantees(list(proven.path.guarantees))
        )
        file = tmp_path / "tampered.path.safetensors"
        replace(changed, end_points=proven.path.end_points).save(file)
        return file

    return write
