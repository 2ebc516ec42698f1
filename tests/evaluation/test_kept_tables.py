"""Modules that keep what they computed from their weights: every t, every thread and every verifier sees its own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.parallel import SideBySide
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task


class Keeping(nn.Module):
    """Computes a table of its weights in its first pass, and reads it ever after, as some attention layers do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
        self.table = {}

    def forward(self, x):
        if "weight" not in self.table:
            self.table["weight"] = self.weight * 2
        return x @ self.table["weight"]


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(90, 4, generator=generator), torch.randint(0, 3, (90,), generator=generator)
    return Task(Keeping, CachedSplit("train", x, y), batch_size=16)


@pytest.fixture
def path():
    generator = torch.Generator().manual_seed(2)
    return Path.from_points([{"weight": torch.randn(4, 3, generator=generator)} for _ in range(3)])


def expected(task, weight):
    outputs = task.train.inputs.double() @ (2 * weight.double())
    return float(nn.functional.cross_entropy(outputs, task.train.targets()))


@pytest.mark.parametrize("threads", [1, 3])
def test_every_t_is_measured_with_its_own_table(task, path, threads):
    with ch.threads(threads):
        evaluation = ch.evaluate(path, task, points=7, refine=0)
    for point in evaluation.curves["train"]:
        assert point.loss == pytest.approx(expected(task, path(point.t)["weight"]), rel=1e-5)


def test_so_is_every_point_by_verify(task, path, tmp_path):
    path.save(tmp_path / "p.path.safetensors")
    losses = [expected(task, point["weight"]) for point in path.points()]
    loss, index = ch.verify(tmp_path / "p.path.safetensors", task).largest["train"]
    assert loss == pytest.approx(max(losses), rel=1e-5)
    assert index == losses.index(max(losses))


def test_such_a_module_is_run_on_one_batch_at_a_time(task):
    model = task.model()
    with ch.threads(3), SideBySide(model, task.train.inputs) as side_by_side:
        assert side_by_side.count == 1


def test_an_aligned_end_is_compared_with_its_own_table(task, path, tmp_path):
    files = []
    for name, point in zip("ab", (path.start, path.end), strict=True):
        model = Keeping()
        model.load_state_dict(point)
        ch.save(model, tmp_path / f"{name}.safetensors")
        files.append(tmp_path / f"{name}.safetensors")
    built = ch.connect(*files, task)
    replace(built, alignment={"aligner": "none"}).save(tmp_path / "p.path.safetensors")
    assert ch.verify(tmp_path / "p.path.safetensors", task, checkpoints=files).holds
    lying = Path.from_points([path.start, path.start])
    replace(lying, end_points=built.end_points, alignment={"aligner": "none"}).save(tmp_path / "p.path.safetensors")
    assert not ch.verify(tmp_path / "p.path.safetensors", task, checkpoints=files).holds


TABLES = {}


class KeepingByIdentity(Keeping):
    """Keeps a copy for each tensor it has met, in itself."""

    def forward(self, x):
        if id(self.weight) not in self.table:
            self.table[id(self.weight)] = self.weight.detach() * 2
        return x @ self.table[id(self.weight)]


class KeepingElsewhere(Keeping):
    """Keeps them where no copy of the module has a place of its own."""

    def forward(self, x):
        if id(self.weight) not in TABLES:
            TABLES[id(self.weight)] = self.weight.detach() * 2
        return x @ TABLES[id(self.weight)]


def made(factory, task):
    pairs = torch.utils.data.TensorDataset(task.train.inputs, task.train.targets())
    return ch.make_task(model=factory, data=torch.utils.data.DataLoader(pairs, batch_size=16), device="cpu")


def test_passes_that_try_a_task_leave_nothing_for_the_module_that_is_measured(task, path):
    checked = made(KeepingByIdentity, task)
    for point in ch.evaluate(path, checked, points=5, refine=0).curves["train"]:
        assert point.loss == pytest.approx(expected(task, path(point.t)["weight"]), rel=1e-5)


def test_a_blank_module_never_ran_and_has_the_tensors_of_the_one_that_did(task):
    run = task.structure()
    task.forward(run, task.train.inputs)
    blank = task.blank()
    assert run.table
    assert not blank.table
    assert blank.weight is run.weight


def test_tables_that_lie_outside_the_module_are_refused_by_both(task, path, tmp_path):
    TABLES.clear()
    with pytest.raises(ch.InputError, match="keeps what it computed under other weights"):
        ch.evaluate(path, made(KeepingElsewhere, task), points=5, refine=0)
    path.save(tmp_path / "p.path.safetensors")
    with pytest.raises(ch.InputError, match="keeps what it computed under other weights"):
        ch.verify(tmp_path / "p.path.safetensors", made(KeepingElsewhere, task))
