"""Several builders side by side: a table that fits the terminal, a file, a section of the page, and a picture."""

import csv
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from made_evaluations import ENDS, HOSTILE, evaluation

from connectivity_hooks.cost import Cost, memory_in_words
from connectivity_hooks.reports.comparison import comparison_table, cost_line, seconds_in_words
from connectivity_hooks.reports.plots import COLOURS, LINES, MARKS, curves_figure, figure_of, notes_on_ends
from connectivity_hooks.reports.report import Report, load_saved
from connectivity_hooks.reports.rows import rows_of

REASON = "the model has an operation that this builder does not know, namely " + "a very long name " * 6


def several(count=3, **given):
    names = [f"builder-{number}" for number in range(count)]
    return {
        name: replace(evaluation(name, 0.1 * (1 + number), **given), build=Cost(3.0 + 70 * number, 10**6 * number))
        for number, name in enumerate(names)
    }


def words(line):
    return line.split()


@pytest.mark.parametrize(("width", "blocks"), [(40, 4), (80, 2), (120, 1), (None, 1)])
def test_every_figure_is_there_and_no_line_is_wider_than_the_terminal(width, blocks):
    found = several()
    table = comparison_table(found, {"other": REASON}, None, width)
    lines = table.splitlines()
    assert width is None or max(map(len, lines)) <= width
    assert sum(line.startswith("builder ") for line in lines) == blocks
    row = " ".join(line for line in lines if line.startswith("builder-1"))
    for figure in ("0.3", "13.50 %", "0.2", "1.4", "1 m 13 s", "1 MB"):
        assert figure in row
    assert " ".join(REASON.split()) in " ".join(table.split())


def test_the_worse_end_is_a_row_and_columns_stand_below_their_titles():
    lines = comparison_table(several(), {}).splitlines()
    titles, rows = lines[1], lines[3:]
    assert words(rows[0]) == ["worse", "end", "0.1", "0.1", "1.00", "%", "1.00", "%"]
    at = titles.index("memory") + len("memory")
    assert all(row.index("B") + 1 == at for row in rows[1:] if row.startswith("builder-"))
    assert lines[-1].startswith("memory: of the process")


def test_the_one_that_is_kept_is_marked():
    lines = comparison_table(several(), {}, "builder-1").splitlines()
    assert [line for line in lines if "*" in line] == [next(line for line in lines if "builder-1 *" in line), "* kept"]


def test_what_is_not_known_is_a_dash_and_a_loss_without_errors_has_no_column():
    found = {"one": evaluation("one", errors=False), "two": evaluation("two", errors=False)}
    table = comparison_table(found, {})
    assert "error" not in table
    assert words(table.splitlines()[-1])[-2:] == ["–", "–"]


def test_alignment_has_a_column_where_there_was_one():
    found = several()
    assert "aligned in" not in comparison_table(found, {})
    found["builder-1"] = replace(found["builder-1"], alignment=Cost(12.0))
    assert "aligned in" in comparison_table(found, {})
    assert "aligned in 12 s; built in 1 m 13 s, taking 1 MB of memory at the peak" in cost_line(found["builder-1"])
    assert cost_line(evaluation()) == "length 1.4; evaluated in 1 s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "< 0.01 s"),
        (0.123, "0.12 s"),
        (34.4, "34 s"),
        (302.0, "5 m 02 s"),
        (3599.9, "1 h 00 m"),
        (7260.0, "2 h 01 m"),
    ],
)
def test_times_for_a_person(seconds, said):
    assert seconds_in_words(seconds) == said


def test_one_builder_shows_its_cost_below_its_table():
    one = replace(evaluation(), build=Cost(2.0, 5 * 10**6, "cuda"))
    last = Report.of([one]).table().splitlines()[-1]
    assert last == "length 1.4; built in 2 s, taking 5 MB of the device's memory at the peak; evaluated in 1 s"


class Rows(HTMLParser):
    """The rows of a page's tables, as lists of texts."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data.strip()


def saved(folder, report):
    report.save(folder)
    return load_saved(folder).content, (folder / "report.html").read_text(encoding="utf-8")


def test_page_json_and_file_hold_the_same(tmp_path):
    found = several()
    report = Report(found, ENDS, refused={"other": REASON}, kept="builder-1", why="builder-1 is kept: why not.")
    content, html = saved(tmp_path, report)
    assert content["kept"] == {"builder": "builder-1", "why": "builder-1 is kept: why not."}
    assert content["refused"] == {"other": REASON}
    assert (content["builders"]["builder-2"]["peak_memory"], content["builders"]["builder-2"]["build_seconds"]) == (
        2 * 10**6, 143.0,
    )  # fmt: skip
    page = Rows(html)
    assert [
        "builder-1 (kept)",
        "0.3",
        "0.3",
        "13.50 %",
        "13.50 %",
        "0.2",
        "0.2",
        "–",
        "1.4",
        "–",
        "1 m 13 s",
        "1 MB",
    ] in page.rows
    assert ["other", f"refused: {REASON.strip()}"] in page.rows
    assert html.index("builder-1 is kept") < html.index("<svg") < html.index("Side by side")
    with open(tmp_path / "builders.csv", newline="") as stream:
        rows = {row["builder"]: row for row in csv.DictReader(stream)}
    for name, builder in content["builders"].items():
        assert float(rows[name]["test.loss_max"]) == builder["test"]["loss_max"]
        assert int(rows[name]["peak_memory"]) == builder["peak_memory"]
        assert rows[name]["kept"] == ("yes" if name == "builder-1" else "")
    assert rows["other"]["refused"] == REASON


def test_one_path_has_neither_section_nor_file(tmp_path):
    saved(tmp_path, Report(several(), ENDS))  # of an earlier run into the same folder
    _, html = saved(tmp_path, Report.of([evaluation()], checkpoints=ENDS))
    assert "Side by side" not in html
    assert not (tmp_path / "builders.csv").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_reasons_stay_text(tmp_path, name):
    report = Report(
        {name: evaluation(name), "b": evaluation("b")}, ENDS, refused={name + "2": name}, kept=name, why=name
    )
    content, html = saved(tmp_path, report)
    assert not {"script", "img"} & set(Rows(html).tags)
    assert content["refused"] == {name + "2": name}
    assert all(line.isprintable() for line in report.table(80).splitlines())
    with open(tmp_path / "builders.csv", newline="") as stream:
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(stream) for cell in row)


def test_a_loss_that_is_not_finite_is_in_the_table_and_null_in_the_json(tmp_path):
    found = {"one": evaluation("one", top=math.inf), "two": evaluation("two")}
    content, _ = saved(tmp_path, Report(found, ENDS))
    assert "nan" in Report(found, ENDS).table()
    json.dumps(content, allow_nan=False)


def test_many_curves_are_told_apart_without_colour_and_their_names_leave_the_curves_alone():
    figure = curves_figure(list(several(9).values()))
    axes = figure.axes[0]
    lines = [line for line in axes.get_lines() if line.get_label().startswith("builder-")]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(lines) == len(looks) == 9
    assert len(set(MARKS)) == len(COLOURS) == len(MARKS)
    assert len(LINES) > 1
    assert len(figure.legends) == 1
    assert all(panel.get_legend() is None for panel in figure.axes)
    few = curves_figure(list(several(2).values()))
    assert few.legends == []


def test_where_one_path_is_high_the_others_are_not_one_line_at_the_bottom():
    high, low = evaluation("high", top=3.0), evaluation("low", top=0.05)
    assert curves_figure([high, low]).axes[0].get_yscale() == "log"
    assert curves_figure([low, evaluation("other", top=0.06)]).axes[0].get_yscale() == "linear"
    assert curves_figure([high]).axes[0].get_yscale() == "linear"


def test_the_picture_of_many_is_a_whole_svg_that_ends_with_its_data(tmp_path):
    Report(several(9), ENDS).save(tmp_path)
    picture = (tmp_path / "report.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(picture)
    assert all(f">{name}<" in picture for name in several(9))


def written(axes):
    return [text.get_text() for text in axes.texts]


def test_each_panel_has_the_bound_of_its_own_split_and_the_legend_has_no_figure():
    rows = rows_of({"certified": evaluation("certified"), "linear": evaluation("linear", top=0.9)})
    figure = figure_of(rows, {"certified": {"train": 0.0679, "test": 0.115}})
    train, test = figure.axes[:2]
    assert [written(train), written(test)] == [["proven bound 0.0679"], ["proven bound 0.115"]]
    labels = [text.get_text() for text in test.get_legend().get_texts()]
    assert labels == ["certified", "linear", "certified: proven bound"]


def test_a_bound_of_one_split_alone_is_named():
    figure = figure_of(rows_of({"linear": evaluation()}), {"linear": {"train": 0.5}})
    assert "linear: proven bound" in [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert written(figure.axes[1]) == []


def moved(rows, split, factor):
    return [replace(row, loss=0.11 + factor * (row.loss - 0.1)) if row.split == split else row for row in rows]


@pytest.mark.parametrize("factor", [1.0, 0.01, 1e-6, 1e6])
def test_panels_of_a_row_have_one_scale_that_can_be_read(factor):
    found = {"high": evaluation("high", top=3.0), "low": evaluation("low", top=0.05)}
    figure = figure_of(moved(rows_of(found), "test", factor), {})
    losses = figure.axes[:2]
    assert [axes.get_yscale() for axes in losses] == ["log", "log"]
    assert losses[0].get_ylabel() == "loss (log)"
    for axes in losses:
        low, high = axes.get_ylim()
        labels = [axes.yaxis.get_major_formatter()(tick) for tick in axes.get_yticks() if low <= tick <= high]
        assert 2 <= len(set(labels)) == len(labels) <= 9


def test_the_note_on_a_second_end_names_its_curves_where_others_have_none():
    assert notes_on_ends({"a": "B moved.", "b": None, "c": "B moved.", "d": "B turned."}) == [
        "a, c: B moved.",
        "d: B turned.",
    ]
    assert notes_on_ends({"a": "B moved.", "b": "B moved."}) == ["B moved."]


@pytest.mark.parametrize(
    ("memory", "device", "said"),
    [
        (None, "cpu", "–"),
        (0, "cpu", "< 1 MB"),
        (115_000, "cpu", "< 1 MB"),
        (1_234_567, "cpu", "1.2 MB"),
        (123_456_789, "cpu", "120 MB"),
        (115_000, "cuda", "115 kB"),
    ],
)
def test_memory_has_no_more_digits_than_are_known(memory, device, said):
    assert memory_in_words(memory, device) == said


def test_small_memory_is_told_alike_in_table_page_and_of_one_and_exact_for_programs(tmp_path):
    found = {name: replace(evaluation(name), build=Cost(1.0, 45_000 + len(name))) for name in ("a", "bb")}
    content, html = saved(tmp_path, Report(found, ENDS))
    assert [content["builders"][name]["peak_memory"] for name in found] == [45_001, 45_002]
    assert content["builders"]["a"]["peak_memory_is"].startswith("bytes that the process took")
    shown = Report(found, ENDS).table() + html + cost_line(found["a"])
    assert "kB" not in shown
    assert sum("< 1 MB" in cell for row in Rows(html).rows for cell in row) == 4
    assert max(map(len, Report(found, ENDS).table(80).splitlines())) <= 80


@pytest.mark.parametrize("width", [50, 80, 200, None])
def test_the_table_of_one_builder_fits_too_and_loses_nothing(width):
    report = Report.of([replace(evaluation(), build=Cost(1.0, 5 * 10**6))])
    lines = report.table(width).splitlines()
    assert width is None or max(map(len, lines)) <= width
    said = [{word for word in table.split() if "─" not in word} for table in ("\n".join(lines), report.table())]
    assert said[0] == said[1]


def test_what_is_proven_is_read_first_then_the_lowest_and_files_keep_their_order(tmp_path):
    found = {
        "high": evaluation("high", top=2.0),
        "lost": evaluation("lost", top=math.inf),
        "low": evaluation("low", top=0.5),
        "proven": evaluation("proven", top=0.0, guarantees=("convex",)),
    }
    order = ["proven", "low", "high", "lost"]
    report = Report(found, ENDS)
    table = [line.split()[0] for line in report.table().splitlines()]
    assert [name for name in table if name in found] == order
    assert [answer.headline for answer in report.answers] == [found[name].conclusion.headline for name in order]
    content, html = saved(tmp_path, report)
    assert list(content["builders"]) == list(found)
    first = list(dict.fromkeys(row[0] for row in Rows(html).rows if row[0] in found))
    assert first == order
    kept = Report(found, ENDS, kept="low", why="why").table().splitlines()
    assert next(line for line in kept if line.split()[:1] in ([n] for n in found)).startswith("low *")


def test_names_in_the_pages_tables_are_not_broken_inside_words(tmp_path):
    _, html = saved(tmp_path, Report(several(), ENDS))
    rule = next(line for line in html.splitlines() if ".figures th[scope=row]" in line)
    assert "anywhere" not in rule.split(".figures th[scope=row]")[1].split("}")[0]
