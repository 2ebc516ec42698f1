"""What an interrupted run left of a pair is found again by a run of the same subject, and by no other."""

import os
from dataclasses import replace

import pytest
import torch

from connectivity_hooks.connecting import work as works
from connectivity_hooks.connecting.work import BUILDER, Costs, PairWork, path_at, path_file
from connectivity_hooks.cost import Cost
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import EndPoint, Path

SUBJECT = {"ends": ["0" * 64, "1" * 64], "builder": ["linear", {}], "correction": None}


class Told:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def a_path():
    path = Path.from_points([{"w": torch.zeros(3)}, {"w": torch.ones(3)}])
    return replace(path, end_points=(EndPoint("a", "0" * 64), EndPoint("b", "1" * 64)))


def names(folder):
    return {file.name for file in folder.iterdir()}


def test_what_an_interrupted_run_built_is_found_again(tmp_path):
    PairWork(tmp_path, "linear", SUBJECT).keep(a_path(), Costs(Cost(0.0)))
    again = PairWork(tmp_path, "linear", SUBJECT)
    assert again.path().positions == (0.0, 1.0)
    assert PairWork(tmp_path, "linear", {**SUBJECT, "ends": ["0" * 64, "2" * 64]}).path() is None
    assert PairWork(tmp_path, "other", SUBJECT).path() is None
    again.finish()
    assert again.path() is None
    assert names(tmp_path) == {"linear.path.safetensors"}


def test_a_path_does_not_depend_on_how_it_is_measured_and_its_measurements_do(tmp_path):
    PairWork(tmp_path, "linear", SUBJECT).keep(a_path(), Costs(Cost(0.0)))
    other = PairWork(tmp_path, "linear", {**SUBJECT, "correction": ["batch-norm", {}]})
    assert other.path() is not None
    for _ in range(2):
        with other.journal() as journal:
            assert len(journal) == 0
        assert other.path() is not None


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"\xff\n", b"00000000 {}\n", b"[" * 9999 + b"\n"])
def test_a_damaged_marker_means_that_the_path_is_built_again(tmp_path, content):
    work = PairWork(tmp_path, "linear", SUBJECT)
    work.keep(a_path(), Costs(Cost(0.0)))
    (tmp_path / ".linear.measured.jsonl").write_bytes(content)
    assert work.path() is None
    with work.journal() as journal:
        assert len(journal) == 0
    assert work.path() is not None


def test_a_damaged_path_is_built_again_and_said(tmp_path):
    told = Told()
    work = PairWork(tmp_path, "linear", SUBJECT, told)
    work.keep(a_path(), Costs(Cost(0.0)))
    work.file.write_bytes(work.file.read_bytes()[:-3])
    assert work.path() is None
    assert path_at(tmp_path / "none", told) is None
    assert len(told.lines) == 1
    assert told.lines[0].endswith("; it is built again")


def test_a_path_of_other_ends_is_not_taken_for_what_the_run_built(tmp_path):
    work = PairWork(tmp_path, "linear", SUBJECT)
    work.keep(a_path(), Costs(Cost(0.0)))
    replace(a_path(), end_points=None).save(work.file)
    assert work.path() is None


def test_states_are_forgotten_once_the_path_is_there(tmp_path):
    work = PairWork(tmp_path, "linear", SUBJECT)
    work.state(BUILDER).save({"w": torch.ones(2)})
    assert PairWork(tmp_path, "linear", SUBJECT).state(BUILDER).load() is not None
    work.keep(a_path(), Costs(Cost(0.0)))
    assert names(tmp_path) == {"linear.path.safetensors", ".linear.measured.jsonl", ".linear.measured.cost.json"}


@pytest.mark.parametrize(
    ("seconds", "resumed", "kept"), [(0.01, False, False), (60.0, False, True), (0.01, True, True)]
)
def test_a_passing_path_is_kept_only_where_it_took_long_and_removed_in_the_end(tmp_path, seconds, resumed, kept):
    work = PairWork(tmp_path, "pair", SUBJECT, passing=True)
    if resumed:  # the last steps were quick, those of the run before were not
        work.state(BUILDER).save({"w": torch.ones(2)})
    work.keep(a_path(), Costs(Cost(seconds)))
    assert (work.path() is not None) == kept
    with work.journal():
        pass
    work.finish()
    assert names(tmp_path) == set()


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "is_main_process", lambda: False)
    work = PairWork(tmp_path, "linear", SUBJECT)
    work.keep(a_path(), Costs(Cost(60.0)))
    with work.journal() as journal:
        assert journal is None
    assert names(tmp_path) == set()
    monkeypatch.undo()
    PairWork(tmp_path, "linear", SUBJECT).keep(a_path(), Costs(Cost(60.0)))
    monkeypatch.setattr(works, "is_main_process", lambda: False)
    assert work.path() is not None
    work.finish()
    assert "linear.path.safetensors" in names(tmp_path)
    assert work.path() is not None


def test_names_that_no_file_can_have_are_refused_before_any_compute(tmp_path):
    longest = 255 - len(".") - len(".unfinished.builder.safetensors")
    PairWork(tmp_path, "x" * longest, SUBJECT).state(BUILDER).save({"w": torch.ones(1)})
    for name in ("x" * (longest + 1), "ü" * 125):
        with pytest.raises(InputError, match="more than 255 bytes"):
            path_file(tmp_path, name)
    with pytest.raises(InputError, match="not UTF-8"):
        PairWork(tmp_path, os.fsdecode(b"\xff"), SUBJECT)
