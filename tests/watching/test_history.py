import contextlib
import csv
import json
import os
import resource
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


def count(watch, steps):
    for _ in range(steps):
        watch.step()


def count_and_close(watch, steps, since=None):
    if since is not None:
        watch.load_state_dict({**watch.state_dict(), "step": since})
    with watch:
        count(watch, steps)


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


@contextlib.contextmanager
def full_at(size):
    """Let no file grow beyond `size` bytes in the block, as on a disk that is full: a write ends half way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 30, 400], ids=["no-byte", "half-a-row", "one-row-and-a-half"])
def test_a_disk_that_is_full_for_a_while_costs_no_row(tmp_path, room):
    with watched(tmp_path) as watch:
        for _ in range(2):
            watch.step()
        with (
            pytest.warns(UserWarning, match="the history was not written: OSError") as said,
            full_at((tmp_path / "history.jsonl").stat().st_size + room),
        ):
            count(watch, 4)
        assert len(said) == 1
        assert len(read_history(tmp_path)) == 2
        for _ in range(2):
            watch.step()
    assert [step for step, *_ in keys(tmp_path)] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert table(tmp_path) == keys(tmp_path)
    assert not list(tmp_path.glob("history.before*"))


def test_a_disk_that_is_full_at_the_end_ends_no_training(tmp_path):
    watch = watched(tmp_path, save=tmp_path / "saved")
    with pytest.warns(UserWarning, match="the training goes on") as said, full_at(100):
        count_and_close(watch, 7)
    lines = [str(warning.message) for warning in said]
    assert (watch.steps, len(watch.history)) == (7, 8)
    assert sorted(line.split(":")[1] for line in lines) == [
        " a checkpoint was not saved",
        " the history was not written",
        " the summary was not written",
    ]
    assert all(line.endswith("the training goes on") for line in lines)


def test_closing_a_file_that_fails_is_a_warning(tmp_path, monkeypatch):
    def broken(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("connectivity_hooks.watching.history_file.HistoryFile.close", broken)
    with pytest.warns(UserWarning, match="history was not written: .*No space left"):
        count_and_close(watched(tmp_path), 1)


GOOD = (
    '{"step": 2, "epoch": 0, "elapsed": 0.1, "spent": 0.1, "weights": "model", "condition": "mean", "layer": "2", '
    '"status": "holds", "measured": 1.0, "threshold": 0.0, "unit": "mean", "reason": "", "details": {}}'
)
DAMAGE = {
    "no-row": b'{"x": 1}',
    "no-json": b"[",
    "a-list": b"[1, 2]",
    "bad-utf-8": b"\xff\xfe\x80",
    "zeros": bytes(300),
    "deep": b"[" * 100_000,
    "deep-details": GOOD.replace("{}}", '{"a": ' + "[" * 50_000 + "]" * 50_000 + "}}").encode(),
    "text-for-a-step": GOOD.replace('"step": 2', '"step": "2"').encode(),
    "a-step-of-a-list": GOOD.replace('"step": 2', '"step": [2]').encode(),
    "a-huge-number": GOOD.replace('"measured": 1.0', '"measured": 1' + "0" * 400).encode(),
    "not-a-number": GOOD.replace('"measured": 1.0', '"measured": NaN').encode(),
    "details-that-are-a-list": GOOD.replace('"details": {}', '"details": [1]').encode(),
    "a-long-line": b"x" * 3_000_000,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_history_is_kept_aside_and_its_whole_rows_go_on(tmp_path, kind):
    rows = GOOD.encode() + b"\n" + DAMAGE[kind] + b"\n" + GOOD.replace('"layer": "2"', '"layer": "5"').encode() + b"\n"
    (tmp_path / "history.jsonl").write_bytes(rows)
    with pytest.raises(InputError, match=r"history.jsonl: holds a line that is no row .* line 2"):
        read_history(tmp_path)
    again = watched(tmp_path)
    again.load_state_dict({**again.state_dict(), "step": 2})
    assert [row.layer for row in again.history] == ["2", "5"]
    with pytest.warns(UserWarning, match=r"damaged line.*kept as history.damaged-1.jsonl.* with the 2 rows") as said:
        count_and_close(again, 2)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert (tmp_path / "history.damaged-1.jsonl").read_bytes() == rows
    assert keys(tmp_path) == table(tmp_path) == [(step, "mean", layer) for step in (2, 4) for layer in ("2", "5")]


def test_a_damaged_history_that_is_not_gone_on_with_is_kept_too(tmp_path):
    (tmp_path / "history.jsonl").write_bytes(b"\xff\n")
    with pytest.warns(UserWarning, match=r"kept as history.damaged-1.jsonl"):
        count_and_close(watched(tmp_path), 2)
    assert (tmp_path / "history.damaged-1.jsonl").read_bytes() == b"\xff\n"
    assert [step for step, *_ in keys(tmp_path)] == [2, 2]


@pytest.mark.parametrize("name", ["history.jsonl", "history.csv"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_what_is_no_file_of_ours_is_not_followed(tmp_path, name, kind):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    out.mkdir()
    if kind == "pipe":
        os.mkfifo(out / name)
    elif kind == "folder":
        (out / name).mkdir()
    else:
        if kind == "link":
            elsewhere.write_text(GOOD + "\n")
        (out / name).symlink_to(elsewhere)
    again = watched(out)
    with pytest.warns(UserWarning, match=r"watch: the history .*" + name.replace(".", "[.]")):
        count_and_close(again, 2, since=2)
    assert len(again.history) == 2
    assert not elsewhere.exists() or elsewhere.read_text() == GOOD + "\n"


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {"format": "connectivity_hooks.watch/1"},
        {"format": ["x"]},
        *(
            {"format": "connectivity_hooks.watch/1", "step": 1, "epoch": 0, "elapsed": 0.0, "spent": 0.0, **damage}
            for damage in (
                {},
                {"statuses": 3},
                {"statuses": {"a": 1}},
                {"statuses": {}, "step": "x"},
                {"statuses": {}, "step": -1},
                {"statuses": {}, "elapsed": float("nan")},
                {"statuses": {}, "elapsed": 10**400},
                {"statuses": {}, "epoch": None},
            )
        ),
    ],
)
def test_a_damaged_state_is_refused_in_a_line_and_changes_nothing(state):
    watch = watched(None)
    watch.step()
    with pytest.raises(InputError) as refused:
        watch.load_state_dict(state)
    assert "\n" not in str(refused.value)
    assert watch.steps == 1


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
