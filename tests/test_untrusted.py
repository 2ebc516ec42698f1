"""The guard of what is read: any fault of the content is one line, and nothing of ours is swallowed."""

from __future__ import annotations

import ast
import json
import os
import pathlib

import pytest

from connectivity_hooks.errors import InputError, UsageError, one_line
from connectivity_hooks.untrusted import guarded, open_regular, parse_literal, read_json, read_text, require_utf8


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


@pytest.mark.parametrize(
    "content",
    [
        b"\xff{}",
        b"{",
        b"[" * 100_000,
        b"9" * 10_000,
        b"[" * 100 + b"]" * 100,
        b'{"a": "\\ud800"}',
        b'{"\\uDCFF": 1}',
        b"\0" * 9,
    ],
)
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


def test_whole_characters_outside_the_first_plane_are_read(tmp_path):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(["😀", "ü"]))  # written as two halves
    assert read_json(file, "a report") == ["😀", "ü"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("['a', 1.5]", ["a", 1.5]), ("relu", "relu"), ("a-b", "a-b"), ("", ""), ("[)", "[)")],
)
def test_what_a_person_typed_is_a_literal_or_text(text, value):
    assert parse_literal(text) == value


@pytest.mark.parametrize("text", ["{[]:1}", "[" * 80 + "]" * 80, "1" * 10_001])
def test_a_literal_that_no_one_can_mean_is_refused_by_the_guard(text):
    with pytest.raises(InputError, match="is not a value"), guarded("?x", "a value"):
        parse_literal(text)


def test_a_name_that_is_not_utf8_is_refused_and_shown():
    require_utf8("ü.safetensors")
    with pytest.raises(InputError, match=r"^run/\\xff\.safetensors: the name of this file is not UTF-8; rename it$"):
        require_utf8(os.fsdecode(b"run/\xff.safetensors"))


# Where a file is opened for reading without the guard, and why.
READ_ON_PURPOSE = {
    "connectivity_hooks/untrusted.py": "the guard",
    "connectivity_hooks/memory.py": "the system's own files",
    "connectivity_hooks/cost.py": "the system's own files",
    "connectivity_hooks/cli/descriptors.py": "standard streams, opened anew",
    "connectivity_hooks/watching/history.py": "appends to its own file",
    "integrations/connectivity_hooks_timm/resuming.py": "watch.json",
}


def test_no_module_opens_a_file_to_read_it_past_the_guard():
    root = pathlib.Path(__file__).parent.parent
    found = set()
    for folder in ("connectivity_hooks", "plugins", "integrations"):
        for file in (root / folder).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            if any(opens(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)):
                found.add(str(file.relative_to(root)))
    assert found <= READ_ON_PURPOSE.keys()


def opens(call):
    """Say whether a call is ``open``, or a path's; ``os.open`` is for locks, members of archives are no files."""
    if isinstance(call, ast.Attribute) and call.attr in ("read_text", "read_bytes", "open"):
        return not (isinstance(call.value, ast.Name) and call.value.id in ("os", "Image", "archive"))
    return isinstance(call, ast.Name) and call.id == "open"


def test_an_error_of_ours_is_one_line_whatever_it_quotes():
    assert str(InputError("a\r\nb\x1b[31m\u2028c")) == "a b [31m c"
    assert str(UsageError("plain – ü")) == "plain – ü"
