import zlib

import numpy as np
import pytest
import torch
from dying_journal import Dying, Killed

import connectivity_hooks as ch
from connectivity_hooks.connecting.methods import make_builder
from connectivity_hooks.connecting.subject import data_digest, subject
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.evaluation import journal as journals
from connectivity_hooks.evaluation.journal import Journal, read_journal, subject_of
from connectivity_hooks.paths import Path
from connectivity_hooks.progress import SILENT

SUBJECT = {"ends": ["1", "2"], "builder": "linear"}


def test_a_killed_evaluation_goes_on_and_ends_equal(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    whole = evaluate(path, setting.task, points=7)
    with pytest.raises(Killed), Dying(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=7, record=journal)
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 4
        resumed = evaluate(path, setting.task, points=7, record=journal)
    assert resumed.curves == whole.curves
    assert resumed.barriers == whole.barriers


def test_a_journal_is_read_whole_or_refused(setting, tmp_path):
    path, file = Path.from_points([setting.weights(1), setting.weights(2)]), tmp_path / "journal"
    with Journal(file, SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
        known = [journal.known(t) for t in (0.0, 1.0, 0.5)]
    assert read_journal(file, "mend it") == (SUBJECT, known)
    whole = file.read_text()
    for damaged in ("", whole.replace("train", "tran"), whole[9:], "[]\n" + whole, whole.partition("\n")[2]):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"is not a whole journal: .*; mend it$"):
            read_journal(file, "mend it")


def test_a_line_cut_short_by_a_crash_is_dropped(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text[:-20])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 2


def test_a_journal_of_something_else_is_started_anew(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    with Journal(tmp_path / "journal", {**SUBJECT, "ends": ["1", "3"]}) as journal:
        assert len(journal) == 0


def test_a_journal_with_other_fields_is_started_anew(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text.replace(', "rise_interval"', "").replace('"rise_interval":', '"gone":'))
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 0


@pytest.fixture
def written(setting, tmp_path):
    """Return a journal's file of three t."""
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    return tmp_path / "journal"


class Told:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


DAMAGE = {
    "zeroed tail": lambda raw: raw[:-300] + b"\0" * 299 + b"\n",
    "bad UTF-8": lambda raw: raw[:-100] + b"\xff\xfe" + raw[-100:],
    "a digit": lambda raw: raw.replace(b'"t": 0.5', b'"t": 0.4'),
    "another type": lambda raw: signed(raw, b'"train"', b"[1, 2]"),
    "other fields": lambda raw: signed(raw, b'"excess"', b'"gone"'),
    "t beside the path": lambda raw: signed(raw, b'"t": 0.0', b'"t": -1.0'),
    "too large a number": lambda raw: signed(raw, b'"t": 0.0', b'"t": 1' + b"0" * 400),
    "another split": lambda raw: signed(raw, b'"split": "test"', b'"split": "other"'),
    "no header": lambda raw: raw.partition(b"\n")[2],
    "nested": lambda raw: signed(raw, b'"t": 0.0', b'"t": ' + b"[" * 5000 + b"]" * 5000),
    "an empty line": lambda raw: raw + b"\n",
    "nothing": lambda raw: b"",
    "zeros": lambda raw: b"\0" * len(raw),
}


def signed(raw, old, new):
    """Return the journal with a change in its first measurements, and the checksum that goes with it."""
    header, first, *rest = raw.split(b"\n")
    assert old in first
    text = first.partition(b" ")[2].replace(old, new, 1)
    return b"\n".join([header, b"%08x %s" % (zlib.crc32(text), text), *rest])


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_journal_is_started_anew_and_said_once(written, damage):
    raw = written.read_bytes()
    written.write_bytes(damage(raw))
    assert written.read_bytes() != raw
    told = Told()
    for _ in range(2):
        with Journal(written, SUBJECT, told) as journal:
            assert len(journal) == 0
        assert len(told.lines) == 1
    assert "started anew" in told.lines[0]


def test_zeros_that_a_power_cut_left_at_the_end_are_a_line_cut_short(written):
    raw = written.read_bytes()
    written.write_bytes(raw[:-300] + b"\0" * 300)
    told = Told()
    with Journal(written, SUBJECT, told) as journal:
        assert len(journal) == 2
    assert told.lines == []
    assert written.read_bytes() == raw[: raw[:-1].rindex(b"\n") + 1]


def test_a_journal_that_goes_on_is_not_written_again(written):
    before = written.stat()
    told = Told()
    with Journal(written, SUBJECT, told) as journal:
        assert len(journal) == 3
    after = written.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert told.lines == []
    assert subject_of(written) == SUBJECT


def test_a_link_in_place_of_a_journal_is_refused_and_what_it_leads_to_kept(written, tmp_path):
    (tmp_path / "link").symlink_to(written)
    raw = written.read_bytes() + b"cut sho"
    written.write_bytes(raw)
    with pytest.raises(InputError):
        Journal(tmp_path / "link", SUBJECT)
    assert written.read_bytes() == raw


def test_lines_are_on_the_disk_at_the_end_and_every_second(setting, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(journals.os, "fsync", synced.append)
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(journals.time, "monotonic", lambda: next(clock))
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        begun = len(synced)
        evaluate(path, setting.task, points=3, refine=0, record=journal)
        assert len(synced) == begun + 3
    assert len(synced) == begun + 4


def test_any_change_of_the_data_or_of_the_code_is_another_subject(tmp_path):
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\n\n\ndef make():\n    return nn.Linear(4, 2)\n")
    x, y = torch.randn(500, 4), torch.randint(0, 2, (500,))

    def named(inputs):
        np.savez(tmp_path / "d.npz", x_train=inputs.numpy(), y_train=y.numpy(), x_test=x.numpy(), y_test=y.numpy())
        task = ch.make_task(model=f"{file}:make", data=str(tmp_path / "d.npz"))
        builder = make_builder("linear", None, seed=0, progress=SILENT)
        return subject(["a", "b"], builder, None, task, None, data_digest(task))

    before, changed = named(x), x.clone()
    changed[321, 2] += 1
    assert named(x) == before
    assert named(changed) != before
    file.write_text(file.read_text() + "# a remark\n")
    assert named(x) != before
