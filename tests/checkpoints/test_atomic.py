"""Writing in one step, and what a killed writer leaves."""

import os
import signal
import subprocess
import sys
import time

import pytest

from connectivity_hooks.checkpoints import atomic, litter
from connectivity_hooks.checkpoints.atomic import atomic_text, atomic_write, make_folder, require_target
from connectivity_hooks.errors import InputError

WRITER = """
import sys, time
from connectivity_hooks.checkpoints.atomic import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """Return a process that is half way through writing ``tmp_path/file``."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def parts(folder):
    return [file for file in folder.iterdir() if file.suffix == ".part"]


def test_what_a_killed_writer_left_goes_with_the_next_write_there(writer, tmp_path):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(parts(tmp_path)) == 1
    atomic_text(tmp_path / "another", "text")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["another"]


def test_what_a_live_writer_is_at_stays(writer, tmp_path):
    atomic_text(tmp_path / "another", "text")
    assert len(parts(tmp_path)) == 1
    assert writer.poll() is None


def test_a_file_taken_for_abandoned_before_its_lock_is_made_again(tmp_path, monkeypatch):
    made = []

    def raced(*arguments, **options):
        handle, name = made_file(*arguments, **options)
        if not made:
            litter.remove_abandoned(tmp_path)  # another run, between the making and the lock
        made.append(name)
        return handle, name

    made_file = atomic.tempfile.mkstemp
    monkeypatch.setattr(atomic.tempfile, "mkstemp", raced)
    atomic_text(tmp_path / "file", "text")
    assert len(made) == 2
    assert (tmp_path / "file").read_text() == "text"
    assert parts(tmp_path) == []


def test_files_of_another_machine_go_after_a_day_and_others_files_never(tmp_path):
    names = [
        ".connectivity-hooks.00000000.new.part",
        ".connectivity-hooks.00000000.old.part",
        ".other.old.part",
        "old.part",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
        if "old" in name:
            os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    atomic_text(tmp_path / "file", "text")
    assert {file.name for file in parts(tmp_path)} == {names[0], *names[2:]}


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    atomic_text(tmp_path / "file", "old")
    with pytest.raises(TypeError), atomic_write(tmp_path / "file") as file:
        file.writelines([b"new", "text"])
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_longest_name_that_a_file_can_have_is_written(tmp_path):
    atomic_text(tmp_path / ("ü" * 127), "text")
    assert (tmp_path / ("ü" * 127)).read_text() == "text"


def test_names_that_no_file_can_have_are_refused_in_one_line(tmp_path):
    for name in ("x" * 300, "nul\0", os.fsdecode(b"\xff")):
        with pytest.raises(InputError, match=r"another place|not UTF-8"):
            atomic_text(tmp_path / name, "text")
        with pytest.raises(InputError, match=r"another folder|not UTF-8"):
            make_folder(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_half_a_character_is_written_as_its_escape(tmp_path):
    atomic_text(tmp_path / "page.html", "a\udcffb")
    assert (tmp_path / "page.html").read_bytes() == b"a\\udcffb"


def test_a_target_that_cannot_be_written_is_known_before(tmp_path):
    require_target(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to("file")
    for target in (tmp_path / "none" / "file", tmp_path / "link", tmp_path):
        with pytest.raises(InputError, match=str(target)):
            require_target(target)
