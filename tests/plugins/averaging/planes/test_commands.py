"""`plane` and `slice` on the command line: answers in words and JSON, files, and refusals in a line."""

import json

import pytest
from small_networks import NETWORK, mlp
from written_networks import drawn, write

import connectivity_hooks as ch
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks_averaging.commands import plane, slice


def network():
    return mlp(12)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    for seed, name in enumerate("abcd"):
        write(tmp_path, name, drawn(network, seed))
    ch.Path.from_points([drawn(network, seed) for seed in (0, 3, 1)]).save(tmp_path / "way.path.safetensors")
    return tmp_path


@pytest.fixture
def asked(folder, capfd):
    def asked(module, names, *words):
        files = [str(folder / f"{name}.safetensors") for name in names]
        spec = ["--model", f"{folder}/net.py:make", "--data", f"{folder}/net.py:data", "--out", str(folder / "out")]
        status = exit_status(module.command.name, lambda: module.command, [*files, *spec, *words])
        return status, *capfd.readouterr()

    return asked


def test_plane_says_what_lies_where_and_writes_it(asked, folder):
    status, text, _ = asked(plane, ["a", "b", "c", "d", "way.path"], "--points", "4")
    assert status == 0
    assert "Plane through a, b, c: train loss" in text
    assert "d lies" in text
    assert "The path way lies up to" in text
    names = {"plane.svg", "plane.png", "plane.csv", "plane-points.csv", "plane.json", "plane.html", "places.jsonl"}
    assert {file.name for file in (folder / "out").iterdir()} == names


def test_json_is_the_report_and_a_second_run_measures_nothing(asked, folder):
    status, text, _ = asked(plane, "abc", "--points", "3", "--json")
    content = json.loads(text)
    assert status == 0
    assert content == json.loads((folder / "out" / "plane.json").read_text())
    assert len(content["grid"]["test"]["error"]) == 9
    kept = (folder / "out" / "places.jsonl").read_bytes()
    assert json.loads(asked(plane, "abc", "--points", "3", "--json")[1]) == content
    assert (folder / "out" / "places.jsonl").read_bytes() == kept


def test_files_of_equal_bytes_are_drawn_once_and_it_is_said(asked, folder):
    (folder / "e.safetensors").write_bytes((folder / "d.safetensors").read_bytes())
    status, text, _ = asked(plane, ["a", "b", "c", "d", "e"], "--points", "2")
    assert status == 0
    assert "e is the same file as d, byte for byte, and is drawn once" in text
    points = json.loads((folder / "out" / "plane.json").read_text())["points"]
    assert [each["name"] for each in points] == ["a", "b", "c", "d"]


def test_a_path_may_be_named_beside_its_own_plane(asked):
    status, text, _ = asked(plane, ["way.path", "way.path"], "--points", "2")
    assert status == 0
    assert "is drawn once" in text


def test_a_path_and_a_checkpoint_of_one_name_are_told_apart(asked, folder):
    (folder / "way.safetensors").write_bytes((folder / "d.safetensors").read_bytes())
    status, _, _ = asked(plane, ["way.path", "way"], "--points", "2")
    assert status == 0
    points = json.loads((folder / "out" / "plane.json").read_text())["points"]
    assert {each["name"] for each in points if each["kind"] != "corner"} == {"way", "way.path"}


def test_one_place_is_one_place(asked):
    assert "at 1 place in their triangle" in asked(plane, "abc", "--points", "2", "--margin", "0")[1]


def test_too_large_a_range_is_wrong_usage_before_anything_is_written(asked, folder):
    status, _, error = asked(slice, "a", "--range", "1e300")
    assert status == 2
    assert "--range" in error
    assert not (folder / "out").exists()


def test_a_path_by_itself_has_a_plane(asked):
    status, text, _ = asked(plane, ["way.path"], "--points", "3")
    assert status == 0
    assert "Plane through way start, way end, way middle" in text


@pytest.mark.parametrize("directions", [1, 2])
def test_slice_writes_its_pictures(asked, folder, directions):
    status, text, _ = asked(slice, "a", "--directions", str(directions), "--points", "5", "--range", "0.5")
    assert status == 0
    assert text.startswith("Slice around a along")
    assert (folder / "out" / "slice.svg").exists()
    assert len((folder / "out" / "slice.csv").read_text().splitlines()) == 1 + 2 * 5**directions


@pytest.mark.parametrize(
    ("names", "words", "status", "said"),
    [
        ("ab", (), 3, "2 checkpoints; expected three"),
        ("aab", (), 3, "have the same parameters"),
        ("abc", ("--correct", "repair"), 2, "needs a path"),
        ("abc", ("--points", "1"), 2, "--points"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(asked, folder, names, words, status, said):
    found, text, error = asked(plane, names, *words)
    assert found == status
    assert not text
    assert said in error
    assert "Traceback" not in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize("module", [plane, slice])
def test_help_tells_no_option_of_a_correction_that_is_refused(module, capfd):
    assert exit_status(module.command.name, lambda: module.command, ["--help"]) == 0
    text = capfd.readouterr().out
    assert "--batch-norm.samples" in text
    assert "--repair." not in text


def test_a_correction_that_is_refused_is_so_in_its_own_words(asked):
    status, _, error = asked(plane, "abc", "--correct", "repair", "--repair.samples", "10")
    assert status == 2
    assert "repair needs a path" in error
