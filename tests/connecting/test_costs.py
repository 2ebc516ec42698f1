"""What a path cost is kept beside it, and a run that goes on adds its own."""

from dataclasses import replace

import pytest
import torch

from connectivity_hooks.connecting.measured import measured_pair
from connectivity_hooks.connecting.methods import Connecting, make_aligner, make_builder
from connectivity_hooks.connecting.pair import load_pair
from connectivity_hooks.connecting.state_file import StateFile
from connectivity_hooks.connecting.work import BUILDER, Costs, PairWork
from connectivity_hooks.cost import Cost, Meter
from connectivity_hooks.evaluation.measuring import Measuring
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.progress import SILENT

SUBJECT = {"ends": ["0" * 64, "1" * 64], "builder": ["linear", {}], "correction": None}
COSTS = Costs(Cost(3.5, 1000), Cost(2.0, None))
CPU = torch.device("cpu")


class Told:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def kept(tmp_path):
    path = Path.from_points([{"w": torch.zeros(3)}, {"w": torch.ones(3)}])
    path = replace(path, end_points=(EndPoint("a", "0" * 64), EndPoint("b", "1" * 64)))
    PairWork(tmp_path, "linear", SUBJECT).keep(path, COSTS)
    return tmp_path


def test_what_a_path_cost_is_found_with_it_until_it_is_finished(kept):
    again = PairWork(kept, "linear", {**SUBJECT, "correction": ["batch-norm", {}]})
    assert again.costs() == COSTS
    assert COSTS.seconds == 5.5
    assert PairWork(kept, "linear", {**SUBJECT, "builder": ["linear", {"x": 1}]}).costs() == Costs()
    again.finish()
    assert [file.name for file in kept.iterdir()] == ["linear.path.safetensors"]
    assert again.costs() == Costs()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"of": 1}', b"\xff", b'{"costs": {"build": 3}}', b"[" * 9999])
def test_a_damaged_file_loses_the_figures_alone_and_is_said(kept, content):
    (kept / ".linear.measured.cost.json").write_bytes(content)
    told = Told()
    work = PairWork(kept, "linear", SUBJECT, told)
    assert work.costs() == Costs()
    assert work.path() is not None
    assert len(told.lines) == 1


def test_the_state_of_a_builder_carries_what_it_cost_so_far(tmp_path):
    file = tmp_path / ".a.unfinished.builder.safetensors"
    StateFile(file, SUBJECT, SILENT, Meter(CPU, earlier=Cost(100.0, 70))).save({"w": torch.ones(1)})
    with Meter(CPU) as meter:
        assert StateFile(file, SUBJECT, SILENT, meter).load() is not None
    assert 100.0 < meter.cost.seconds < 160.0
    assert meter.cost.memory >= 70
    with Meter(CPU) as meter:
        StateFile(file, {**SUBJECT, "ends": []}, SILENT, meter).load()  # of other work
    assert meter.cost.seconds < 60.0


def test_a_killed_builder_aligner_and_evaluation_count_in_the_end(
    plugin, task, ends, tmp_path, always_due, kill_after, monkeypatch
):
    pair = load_pair(*ends, task)
    how = Connecting(
        make_builder("bend", {"steps": 20}, seed=0, progress=SILENT),
        make_aligner("turned", None, seed=0, progress=SILENT),
        Measuring(points=3, refine=0),
    )
    work = PairWork(tmp_path, "bend", how.subject(pair, task, "data"))
    save = StateFile.save
    monkeypatch.setattr(Meter, "_so_far", lambda self: Cost(10.0, 5))  # whatever the machine
    with pytest.raises(kill_after(2)):  # the aligned end, then the builder's first state
        measured_pair(pair, task, how, work)
    monkeypatch.setattr(StateFile, "save", save)
    again = replace(pair, aligned={})
    found = measured_pair(again, task, how, PairWork(tmp_path, "bend", how.subject(pair, task, "data")))
    assert found.build.seconds == 20.0
    assert found.alignment.seconds >= 10.0
    before = found.seconds
    later = measured_pair(again, task, how, PairWork(tmp_path, "bend", how.subject(pair, task, "data")))
    assert later.build == found.build
    assert later.alignment == found.alignment
    assert later.seconds > 0.9 * before  # what was found again had cost as much
    assert work.state(BUILDER).load() is None
