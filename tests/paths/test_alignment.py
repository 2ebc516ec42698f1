"""The core's check of aligners, on one that permutes neurons and on one that lies."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from connectivity_hooks.checkpoints import read, write_tensors
from connectivity_hooks.connecting.build import build
from connectivity_hooks.connecting.pair import load_pair
from connectivity_hooks.contracts import Aligner, Alignment
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks.testing.tasks import make_task
from connectivity_hooks.verification.ends import compare_ends
from connectivity_hooks_curves.linear import Linear


def net():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def net_of_the_suite():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Sorting(Aligner):
    """Orders the second network's hidden neurons like the first's, by greedy matching of incoming weights."""

    name = "sorting"

    def align(self, a, b, task):
        keys = [name for name in a if a[name].ndim == 2][:1] if "0.weight" not in a else ["0.weight"]
        if keys != ["0.weight"]:
            return Alignment(dict(b))
        free, order = set(range(8)), []
        for row in a["0.weight"]:
            best = min(free, key=lambda j: float((b["0.weight"][j] - row).norm()))
            order.append(best)
            free.remove(best)
        permuted = {**b, "0.weight": b["0.weight"][order], "0.bias": b["0.bias"][order]}
        return Alignment({**permuted, "2.weight": b["2.weight"][:, order]}, {"order": order})


class Forgetful(Sorting):
    """Permutes the incoming weights and forgets the outgoing ones."""

    name = "forgetful"

    def align(self, a, b, task):
        return Alignment({**super().align(a, b, task).weights, "2.weight": b["2.weight"]})


class Scaling(Aligner):
    """Multiplies hidden neurons by numbers that no type holds exactly, and divides what reads them."""

    name = "scaling"
    lie = 0.0

    def align(self, a, b, task):
        factors = torch.linspace(0.3, 2.3, 8, dtype=torch.float64)
        wide = {name: tensor.double() for name, tensor in b.items()}
        wide["0.weight"], wide["0.bias"] = wide["0.weight"] * factors[:, None], wide["0.bias"] * factors
        wide["2.weight"] = wide["2.weight"] / factors
        wide["2.bias"] = wide["2.bias"] + self.lie
        return Alignment({name: tensor.to(b[name].dtype) for name, tensor in wide.items()})


class Lying(Scaling):
    """Moves an output a little as well, by less than a picture shows."""

    name = "lying"
    lie = 3e-5


class TestSorting(AlignerSuite):
    aligner = Sorting

    def make_task(self):
        return make_task(network=net_of_the_suite)


@pytest.fixture
def pair(tmp_path):
    """A network and the same one with its neurons permuted, as files; and their task."""
    torch.manual_seed(0)
    a = net().state_dict()
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    b = {
        "0.weight": a["0.weight"][order],
        "0.bias": a["0.bias"][order],
        "2.weight": a["2.weight"][:, order],
        "2.bias": a["2.bias"],
    }
    for name, weights in (("a", a), ("b", b)):
        write_tensors(tmp_path / name, weights, {})
    x = torch.randn(60, 5)
    task = Task(net, CachedSplit("train", x, torch.arange(60) % 3), dtype=torch.float64)
    task = replace(task, train=task.train.to(task.device, task.dtype))
    return load_pair(tmp_path / "a", tmp_path / "b", task), task


def test_a_permuted_copy_is_recovered_and_its_barrier_vanishes(pair):
    ends, task = pair
    plain = evaluate(build(ends, task, Linear()).path, task)
    path = build(ends, task, Linear(), Sorting()).path
    aligned = evaluate(path, task)
    assert plain.length > 1
    assert aligned.barriers["train"].barrier_entezari < 1e-5
    assert aligned.length < 1e-6
    assert path.alignment["record"] == {"order": [3, 1, 4, 0, 7, 6, 5, 2]}
    assert path.alignment["deviation"] < 1e-9


def test_an_aligner_that_changes_the_function_is_caught(pair):
    ends, task = pair
    with pytest.raises(ConnectivityError, match="aligner forgetful: it changes the function"):
        build(ends, task, Linear(), Forgetful())


@pytest.fixture
def coarse(pair):
    """The pair in float32, and its task."""
    ends, task = pair
    a, b = ({name: tensor.float() for name, tensor in end.items()} for end in (ends.a, ends.b))
    task = replace(task, dtype=torch.float32)
    return replace(ends, a=a, b=b, aligned={}), replace(task, train=task.train.to(task.device, task.dtype))


def test_an_aligned_end_may_deviate_by_what_rounding_its_weights_does_and_no_more(coarse, pair):
    ends, task = coarse
    path = build(ends, task, Linear(), Scaling()).path
    assert 1e-9 < path.alignment["deviation"] <= path.alignment["allowed"] < 1e-5
    with pytest.raises(ConnectivityError, match="aligner lying: it changes the function"):
        build(ends, task, Linear(), Lying())
    a, b = ({name: tensor.double() for name, tensor in end.items()} for end in (ends.a, ends.b))
    fine = build(replace(ends, a=a, b=b, aligned={}), pair[1], Linear(), Scaling()).path
    assert fine.alignment["deviation"] < 1e-13


def test_the_verifier_measures_rounding_by_itself(coarse, tmp_path):
    ends, task = coarse
    files = []
    for name, weights in (("a32", ends.a), ("b32", ends.b)):
        files.append(tmp_path / name)
        write_tensors(files[-1], weights, {})
    ends = load_pair(*files, task)
    honest = build(ends, task, Linear(), Scaling()).path
    found = compare_ends(honest, [read(file) for file in files], task, task.model(), task.train)
    assert not found.findings
    assert "rounding" in found.words
    lying = {**honest.end, "2.bias": honest.end["2.bias"] + 3e-5}
    path = replace(Path.from_points([honest.start, lying]), end_points=honest.end_points, alignment=honest.alignment)
    found = compare_ends(path, [read(file) for file in files], task, task.model(), task.train)
    assert [finding.where for finding in found.findings] == ["end B (aligned)"]


def test_a_builder_that_moves_an_end_is_caught(pair):
    class Moving(Linear):
        """A line that ends elsewhere."""

        def build(self, a, b, task):
            return Path.from_points([a, {**b, "2.bias": b["2.bias"] + 1e-7}])

    ends, task = pair
    with pytest.raises(ConnectivityError, match=r"builder linear: the end of its path changes 2\.bias"):
        build(ends, task, Moving())
