"""The output folder: one run at a time, whatever the instant, and nothing of an earlier run that cannot be used."""

import fcntl
import os
import subprocess
import sys

import pytest

from connectivity_hooks.cli.folder import LOCK, OutputFolder
from connectivity_hooks.errors import InputError


def test_two_runs_never_hold_one_folder_though_the_first_ends_in_between(tmp_path, monkeypatch):
    """The lock that a run opened may be gone when it gets it, and another one in its place."""
    first = OutputFolder(tmp_path)
    third = []

    def raced(handle, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.__exit__(None, None, None)  # the second run has opened the lock of the first, which ends now
        third.append(OutputFolder(tmp_path))
        return flock(handle, how)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", raced)
    for _ in range(2):
        with pytest.raises(InputError, match="another run is writing"):
            OutputFolder(tmp_path)
    third[0].__exit__(None, None, None)
    with OutputFolder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_lock_was_removed_by_hand_leaves_the_next_one_s(tmp_path):
    with OutputFolder(tmp_path):
        (tmp_path / LOCK).unlink()
        second = OutputFolder(tmp_path)
    with pytest.raises(InputError, match="another run is writing"):
        OutputFolder(tmp_path)
    second.__exit__(None, None, None)


class Refused(Exception):
    pass


def test_a_run_that_fails_before_it_wrote_leaves_no_folder_that_it_made(tmp_path):
    with pytest.raises(Refused), OutputFolder(tmp_path / "new" / "out"):
        raise Refused
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_or_holds_something_stays(tmp_path):
    with pytest.raises(Refused), OutputFolder(tmp_path):
        raise Refused
    made = OutputFolder(tmp_path / "new" / "out")
    (made.path / "a.path.safetensors").touch()
    made.__exit__(Refused, Refused(), None)
    assert [file.name for file in (tmp_path / "new" / "out").iterdir()] == ["a.path.safetensors"]
    with OutputFolder(tmp_path / "whole"):
        pass
    assert (tmp_path / "whole").is_dir()


ALONE = """
import os, pathlib, sys
from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.errors import InputError

place, held = pathlib.Path(sys.argv[1]), 0
for _ in range(400):
    try:
        with OutputFolder(place / "out"):
            os.mkdir(place / "alone")  # fails where another one is in here too
            os.rmdir(place / "alone")
            held += 1
    except InputError:
        pass
print(held)
"""


def test_many_runs_in_turn_are_one_at_a_time(tmp_path):
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    held = [int(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sum(held) > 0


def test_names_that_no_folder_can_have_are_refused_before_any_compute(tmp_path):
    for name in (os.fsdecode(b"\xff"), "x" * 300, "nul\0"):
        with pytest.raises(InputError, match=r"not UTF-8|choose another --out"):
            OutputFolder(tmp_path / name)


def test_a_folder_that_cannot_be_locked_is_not_said_to_be_another_run_s(tmp_path, monkeypatch):
    def unlockable(handle, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unlockable)
    with pytest.raises(InputError, match="cannot be written to: No locks available"):
        OutputFolder(tmp_path)


def test_a_name_that_is_not_utf8_is_refused_before_any_compute(run, ends, workspace, tmp_path):
    name = tmp_path / os.fsdecode(b"\xff.safetensors")
    name.write_bytes((workspace / "a.safetensors").read_bytes())
    for end in (name, tmp_path):  # named, and found in a folder
        status, _, err = run(ends[0], end, *ends[2:], "--out", tmp_path / "out")
        assert (status, "not UTF-8" in err, r"\xff.safetensors" in err) == (3, True, True)
    status, _, err = run(*ends, "--out", tmp_path / os.fsdecode(b"out\xff"))
    assert (status, "not UTF-8" in err) == (3, True)
    assert [file.name for file in tmp_path.iterdir()] == [name.name]


@pytest.mark.parametrize(
    "name",
    [".a.measured.jsonl", ".a.unfinished.builder.safetensors", "a.path.safetensors", "report.json"],
)
def test_a_folder_in_place_of_a_file_is_said_before_anything_is_computed(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: is a folder"):
        OutputFolder(tmp_path)
    (tmp_path / name).rmdir()
    with OutputFolder(tmp_path):
        pass
