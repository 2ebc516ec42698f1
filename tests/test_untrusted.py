"""The guard of what is read: any fault of the content is one line, and nothing of ours is swallowed."""

from __future__ import annotations

import json
import os

import pytest

from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.untrusted import guarded, open_regular, read_json, read_text


class PanicException(BaseException):  # as native extensions raise it
    pass


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines"), RecursionError("deep"), MemoryError(), KeyError("x"), PanicException("native")]
)
def test_whatever_goes_wrong_while_reading_is_one_line_about_the_thing(error):
    with pytest.raises(InputError) as raised, guarded("file.json", "a report", "make it again"):
        raise error
    text = str(raised.value)
    assert text.startswith("file.json: is not a report: ")
    assert text.endswith("; make it again")
    assert "\n" not in text


@pytest.mark.parametrize("error", [InputError("ours"), UsageError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_errors_of_ours_and_interruptions_pass_as_they_are(error):
    with pytest.raises(type(error)) as raised, guarded("file.json", "a report"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("content", [b"\xff{}", b"{", b"[" * 100_000, b"9" * 10_000])
def test_json_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "report.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match="is not a report"):
        read_json(file, "a report")


def test_json_and_text_are_read(tmp_path):
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"ä": [1, None]}), encoding="utf-8")
    assert read_json(file, "a report") == {"ä": [1, None]}
    assert read_text(file, "a report").startswith("{")


def test_a_text_longer_than_the_limit_is_refused_unread(tmp_path):
    file = tmp_path / "report.json"
    file.write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="longer than 99 bytes"):
        read_text(file, "a report", longest=99)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path, tmp_path / "none", tmp_path / "nul\0"):
        with pytest.raises(InputError, match="check the path"):
            open_regular(file)


def test_an_error_as_one_line_names_a_stranger_s_kind_and_keeps_to_its_length():
    assert one_line(InputError("ours")) == "ours"
    assert one_line(ValueError("a\n b")) == "ValueError: a b"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 1000), 80)) == 80
    assert one_line(MemoryError()) == one_line(RuntimeError("DefaultCPUAllocator: can't allocate memory: 10 bytes"))
