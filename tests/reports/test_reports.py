"""Reports of hand-made evaluations: honest JSON, a page without live content, plots that survive any name."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from made_evaluations import ENDS, HOSTILE, evaluation
from report_cases import CASES

from connectivity_hooks.contracts import Verdict
from connectivity_hooks.evaluation.phrases import limits
from connectivity_hooks.paths import EndPoint
from connectivity_hooks.reports.html import draw, render_html
from connectivity_hooks.reports.report import Report, Saved, load_saved
from connectivity_hooks.reports.rows import read_rows, rows_of
from connectivity_hooks.reports.tables import figures_table, verdicts_table


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


def saved(tmp_path, report):
    report.save(tmp_path)
    return load_saved(tmp_path), (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_answer_comes_first_then_the_picture_then_the_tables(tmp_path):
    _, html = saved(tmp_path, Report.of([evaluation()], checkpoints=ENDS))
    page = Page(html)
    first = [page.tags.index(tag) for tag in ("h1", "svg", "table")]
    assert first == sorted(first)
    assert "Not connected by the linear path" in page.words


def test_the_page_runs_nothing_and_loads_nothing(tmp_path):
    _, html = saved(tmp_path, Report.of([evaluation()], checkpoints=ENDS))
    page = Page(html)
    assert not {"script", "iframe", "object", "link", "img"} & set(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "http" not in html.replace("http-equiv", "")
    assert any(value and "default-src 'none'" in value for _, value in page.attributes)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path, name):
    ends = (EndPoint(name, "0" * 64), EndPoint("b", "1" * 64))
    verdict = Verdict("c", name, True, 1.0, 1.0, name, details={name: name})
    report = Report.of([evaluation(builder=name)], checkpoints=ends, conditions={name: [verdict]}, notes=[name])
    content, html = saved(tmp_path, report)
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not any(key.startswith("on") for key, _ in page.attributes)
    assert content.content["notes"] == [name]
    assert {row.builder for row in read_rows(tmp_path / "evaluation.csv")} == {name}
    assert not (tmp_path / "evaluation.csv").read_text(encoding="utf-8").splitlines()[1].startswith("=")
    for table in (figures_table([evaluation(builder=name)]), verdicts_table([verdict])):
        assert "\x1b" not in table
        assert all(line.isprintable() for line in table.splitlines())


def test_what_is_not_finite_is_null_and_named_and_the_json_is_strict(tmp_path):
    broken = evaluation(top=float("inf"))
    content, html = saved(tmp_path, Report.of([broken], checkpoints=ENDS))
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in report.json"))
    assert content.content["builders"]["linear"]["train"]["loss_max"] is None
    assert any("loss_max is not a finite number" in note for note in content.content["notes"])
    assert "<svg" in html


def test_the_correction_is_named_in_words_in_the_table_and_for_programs(tmp_path):
    corrected = replace(evaluation(), correction="batch-norm", correction_options={"samples": 64, "seed": 1})
    content, html = saved(tmp_path, Report.of([corrected], checkpoints=ENDS))
    kept = content.content["builders"]["linear"]
    assert (kept["correction"], kept["correction_options"]) == ("batch-norm", {"samples": 64, "seed": 1})
    assert Page(html).words.count("batch-norm") == 2
    plain, html = saved(tmp_path, Report.of([evaluation()], checkpoints=ENDS))
    assert plain.content["builders"]["linear"]["correction"] == "none"
    assert "corrected" not in Page(html).words


@pytest.mark.parametrize("kind", [{"errors": False}, {"splits": ("train",)}, {"top": 0.0}])
def test_reports_without_errors_test_split_or_barrier_are_whole(tmp_path, kind):
    _, html = saved(tmp_path, Report.of([evaluation(**kind)], checkpoints=None))
    assert "<svg" in html


def test_errors_are_named_only_where_they_are_counted(tmp_path):
    without, counted = evaluation(errors=False), evaluation()
    assert figures_table([without]).endswith("errors are counted under the losses cross-entropy and bce only")
    assert "counted" not in figures_table([counted])
    assert "Loss and error" not in saved(tmp_path / "without", Report.of([without], checkpoints=ENDS))[1]
    assert "Loss and error along the path." in saved(tmp_path / "counted", Report.of([counted], checkpoints=ENDS))[1]


def test_a_detail_that_is_empty_is_said_to_be_none():
    verdict = Verdict("c", "fc", True, 1.0, 1.0, "nats", details={"dead": "", "scale": None, "errors": 0})
    assert "dead none, scale none, errors 0" in verdicts_table([verdict])


def test_a_proven_bound_is_told_from_a_measured_path(tmp_path):
    proven = evaluation("certified", top=0.0, errors=False, guarantees=("convex",))
    content, html = saved(tmp_path, Report.of([proven, evaluation("linear")], checkpoints=ENDS))
    assert content.content["builders"]["certified"]["bound"]["train"] == pytest.approx(0.1)
    assert content.content["builders"]["linear"]["bound"] == {"train": None, "test": None}
    assert "proven bound 0.1" in html
    assert Page(html).words.count("Connected, and proven") == 1


def test_the_rows_survive_the_file_exactly(tmp_path):
    report = Report.of([evaluation(), evaluation("other", errors=False)])
    report.save(tmp_path)
    assert read_rows(tmp_path / "evaluation.csv") == rows_of(report.evaluations)


def test_the_page_is_made_again_from_its_data_alone(tmp_path):
    content, html = saved(tmp_path, Report.of([evaluation()], checkpoints=ENDS))
    assert render_html(content, draw(content)) == html


def test_an_evaluation_saves_prints_and_plots_itself(tmp_path):
    one = evaluation()
    one.save(tmp_path)
    assert (tmp_path / "report.json").exists()
    assert "not proven" in one.table()
    one.plot().savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["infinite-in-the-middle", "infinite-end", "one-sample", "identical-ends"])
def test_odd_figures_are_drawn_without_a_warning(name, tmp_path):
    Report.of(CASES[name].make()).save(tmp_path)
    picture = (tmp_path / "report.svg").read_text()
    ElementTree.fromstring(picture)
    assert ("not a finite number" in picture) == name.startswith("infinite")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [*HOSTILE, "検査", "line\u2028end", "x" * 500])
def test_any_name_makes_a_well_formed_picture_without_a_warning(name, tmp_path):
    Report.of([evaluation(builder=name)]).save(tmp_path)
    labels = {text.text for text in ElementTree.parse(tmp_path / "report.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {"train", "test"} <= labels
    assert max(map(len, labels)) <= 40


def test_every_figure_of_a_verdict_stands_in_the_tables(tmp_path):
    one = evaluation()
    _, html = saved(tmp_path, Report.of([one], checkpoints=ENDS))
    page = Page(html).words
    for of in ("loss", "error"):
        climb = getattr(one.conclusion.findings["train"], of)
        height = f"{climb.height:.4g}" if of == "loss" else f"{100 * climb.height:.2f}"
        interval = " to ".join(limits(climb.least, climb.most, of))
        assert f"{height} ({interval})" in page
        assert height in one.table()
        assert interval in one.table()
        assert any(interval in sentence for sentence in one.conclusion.sentences)


ALIGNED = {"aligner": "swap", "deviation": 3e-8, "record": {"moved": {"spaces": 7, "of": 9}, "demoted": ["x: S holds"]}}
IN_WORDS = (
    "B was replaced by an equal copy aligned to A by swap (7 of 9 spaces moved, outputs moved by 3e-08, relative); "
    "not used: x: S holds."
)


def texts(svg):
    """Return what a picture says, lines joined."""
    return " ".join(
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter() if "text" in node.tag
    )


@pytest.mark.parametrize("splits", [("train", "test"), ("train",)])
def test_an_aligned_end_is_said_in_words_in_the_page_and_in_the_picture(tmp_path, splits):
    found = evaluation(splits=splits)
    aligned = replace(found, path=replace(found.path, alignment=ALIGNED))
    other = replace(aligned, path=replace(aligned.path, builder="other"))
    assert IN_WORDS in aligned.conclusion.sentences
    Report.of([aligned, other]).save(tmp_path)
    saved = load_saved(tmp_path)
    assert saved.content["builders"]["linear"]["alignment"]["in_words"] == IN_WORDS
    assert texts(draw(saved)).count(IN_WORDS) == 1  # once for both builders
    page = render_html(saved, "").replace("\N{NO-BREAK SPACE}", " ")
    assert page.count(f"<p>{IN_WORDS}</p>") == 2
    Report.of([found]).save(tmp_path)
    assert "aligned" not in (tmp_path / "report.html").read_text() + (tmp_path / "report.svg").read_text()


def test_a_picture_of_a_hostile_alignment_is_drawn():
    found = evaluation()
    for name in HOSTILE:
        alignment = {"aligner": name, "record": {"demoted": [name] * 5}}
        aligned = replace(found, path=replace(found.path, alignment=alignment))
        saved = Saved(Report.of([aligned]).as_json(), tuple(rows_of({"linear": aligned})))
        picture = draw(saved)
        ElementTree.fromstring(picture)
        assert "<script" not in render_html(saved, picture)
    aligned.plot()
