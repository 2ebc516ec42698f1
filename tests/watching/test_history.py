import csv
import json
import signal
import subprocess
import sys

import pytest
import torch
from watched_training import Mean, data, network, steps

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.watching import read_history

X, Y = data()


def watched(out, **options):
    return ch.watch(network(), (X, Y), conditions=[Mean()], every=2, out=out, **options)


def table(out):
    with (out / "history.csv").open(encoding="utf-8", newline="") as stream:
        return [(int(row["step"]), row["condition"], row["layer"]) for row in csv.DictReader(stream)]


def keys(out):
    return [(row.step, row.condition, row.layer) for row in read_history(out)]


def test_both_files_hold_a_row_for_every_verdict_as_soon_as_it_is_found(tmp_path):
    with watched(tmp_path) as watch:
        for count in range(1, 7):
            watch.step()
            assert len(table(tmp_path)) == len(keys(tmp_path)) == 2 * (count // 2) if count > 1 else True
        watch.epoch()
    assert table(tmp_path) == keys(tmp_path) == [(step, "mean", layer) for step in (2, 4, 6) for layer in ("2", "5")]
    row = read_history(tmp_path)[0]
    assert row == watch.history[0]
    assert row.details == {"rows": 120}
    assert row.weights == "model"


def test_nothing_is_written_before_there_is_something(tmp_path):
    out = tmp_path / "out"
    with watched(out, at_end=False) as watch:
        watch.step()
    assert not out.exists()


def test_resuming_goes_on_without_a_row_twice(tmp_path):
    with watched(tmp_path) as watch:
        for _ in range(5):
            watch.step()
        state = json.loads(json.dumps(watch.state_dict()))
        watch.step()
        watch.remove()  # killed at step 6, resumed from a checkpoint of step 5
    assert [step for step, *_ in table(tmp_path)] == [2, 2, 4, 4, 6, 6]
    again = watched(tmp_path)
    again.load_state_dict(state)
    assert (again.steps, len(again.history)) == (5, 4)
    with again:
        for _ in range(5):
            again.step()
    assert [step for step, *_ in table(tmp_path)] == [2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    assert table(tmp_path) == keys(tmp_path)
    assert [row.step for row in again.history] == [2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    elapsed = [row.elapsed for row in again.history]
    assert elapsed == sorted(elapsed)


def test_resuming_at_a_step_that_was_checked_does_not_check_it_again(tmp_path):
    with watched(tmp_path) as watch:
        for _ in range(4):
            watch.step()
    again = watched(tmp_path, at_start=True)
    again.load_state_dict(watch.state_dict())
    with again:
        pass
    assert [step for step, *_ in table(tmp_path)] == [2, 2, 4, 4]


def test_a_row_that_a_crash_cut_short_is_dropped_and_the_table_made_anew(tmp_path):
    with watched(tmp_path) as watch:
        for _ in range(4):
            watch.step()
        state = watch.state_dict()
        watch.remove()
    whole = (tmp_path / "history.jsonl").read_text(encoding="utf-8")
    (tmp_path / "history.jsonl").write_text(whole[:-40], encoding="utf-8")
    again = watched(tmp_path)
    again.load_state_dict(state)
    with again:
        again.step()
        again.step()
    assert [step for step, *_ in keys(tmp_path)] == [2, 2, 4, 6, 6]
    assert table(tmp_path) == keys(tmp_path)


def test_a_run_that_does_not_resume_keeps_the_history_it_finds(tmp_path):
    for _ in range(3):
        with watched(tmp_path) as watch:
            watch.step()
            watch.step()
    assert table(tmp_path) == keys(tmp_path) == [(2, "mean", "2"), (2, "mean", "5")]
    kept = sorted(file.name for file in tmp_path.glob("history.before-*"))
    assert kept == [f"history.before-{number}.{kind}" for number in (1, 2) for kind in ("csv", "jsonl")]


def test_two_runs_into_one_folder_the_second_is_named_and_writes_nothing(tmp_path):
    with watched(tmp_path) as first:
        for _ in range(2):
            first.step()
        second = watched(tmp_path)
        second.step()
        with pytest.warns(UserWarning, match="another run is writing its history there; choose another out="):
            second.step()
        assert len(second.history) == 2
        first.step()
        first.step()
    assert [step for step, *_ in table(tmp_path)] == [2, 2, 4, 4]


def test_a_folder_that_cannot_be_written_to_is_named_and_the_training_goes_on(tmp_path):
    (tmp_path / "file").write_text("")
    watch = watched(tmp_path / "file" / "out", at_end=False)
    watch.step()
    with pytest.warns(UserWarning, match="the history was not written: .*cannot be written to"):
        watch.step()
    with pytest.warns(UserWarning, match="the summary was not written"):
        watch.close()
    assert len(watch.history) == 2


def test_names_that_a_spreadsheet_would_run_are_quoted(tmp_path):
    model = network()
    model.add_module("=1+1", torch.nn.Identity())
    with ch.watch(model, (X, Y), conditions=[Mean()], layers="=1+1", out=tmp_path) as watch:
        watch.step()
    assert "'=1+1" in (tmp_path / "history.csv").read_text(encoding="utf-8")
    assert read_history(tmp_path)[0].layer == "=1+1"


def test_a_state_of_something_else_is_refused():
    with pytest.raises(InputError, match="expected a state of format"):
        watched(None).load_state_dict({"step": 3})


def test_what_is_no_history_is_refused(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"x": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="no row of a history"):
        read_history(tmp_path)


KILLED = """
import os, signal, sys
sys.path.insert(0, {support!r})
from watched_training import Mean, data, network
import connectivity_hooks as ch
with ch.watch(network(), data(), conditions=[Mean()], every=1, out={out!r}) as watch:
    for step in range(1, 4):
        watch.step()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_found_survives_a_kill(tmp_path):
    import watched_training

    support = watched_training.__file__.rpartition("/")[0]
    program = KILLED.format(support=support, out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [step for step, *_ in table(tmp_path)] == [1, 1, 2, 2, 3, 3]
    with watched(tmp_path) as watch:  # the lock went with the process
        watch.step()
        watch.step()
    assert not watch.faults


def test_the_last_step_is_checked_once_more_at_the_end(net):
    with ch.watch(net, (X, Y), conditions=[Mean()], every=3) as watch:
        steps(net, 7, watch)
    assert [row.step for row in watch.history][::2] == [3, 6, 7]
