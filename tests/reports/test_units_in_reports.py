"""Tables, pages, pictures and files say perplexity beside nats, and token or pixel error."""

import csv
import html
import itertools
import json
import math
import re
from xml.etree import ElementTree

import pytest
from language_models import lines, of_pixels, of_tokens, tables
from made_evaluations import evaluation
from matplotlib.figure import Figure

import connectivity_hooks as ch
from connectivity_hooks.reports.comparison import comparison_table
from connectivity_hooks.reports.html import draw, render_html
from connectivity_hooks.reports.perplexity_axis import name_perplexities
from connectivity_hooks.reports.report import Report, load_saved


@pytest.fixture(scope="module")
def tokens():
    return ch.evaluate(tables(3.0, -3.0), of_tokens(), points=9, refine=0)


@pytest.fixture(scope="module")
def beyond():
    return ch.evaluate(tables(3.0, -900.0), of_tokens(), points=9, refine=0)


def words_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page)))


def loaded(folder, *evaluations):
    report = Report.of(evaluations) if len(evaluations) == 1 else Report(dict(zip("pq", evaluations, strict=True)))
    report.save(folder)
    text = (folder / "report.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in report.json"))
    return load_saved(folder), words_of((folder / "report.html").read_text(encoding="utf-8"))


def written(picture):
    return [
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(picture).iter() if node.tag.endswith("text")
    ]


def test_the_json_has_perplexities_of_ends_worst_point_and_middle(tokens, tmp_path):
    saved, _ = loaded(tmp_path, tokens)
    (of,) = saved.content["builders"].values()
    assert saved.content["task"]["unit"] == "token"
    for split, seen in tokens.perplexity.items():
        stored = of[split]["perplexity"]
        assert (stored["ends"], stored["max"], stored["middle"]) == (list(seen.ends), seen.max, seen.middle)
        assert stored["max"] == pytest.approx(math.exp(of[split]["loss_max"]), rel=1e-12)
        assert of[split]["loss_middle"] == tokens.curves[split][4].loss


def test_what_is_no_float_is_null_and_no_loss_is_missed(beyond, tmp_path):
    saved, words = loaded(tmp_path, beyond)
    (of,) = saved.content["builders"].values()
    assert of["train"]["perplexity"]["max"] is None
    assert of["train"]["loss_max"] > 800
    assert not any("not a finite number" in note for note in saved.content["notes"])
    assert "> 1e6" in words
    assert "> 1e6" in beyond.table()
    assert "> 1e6" in written(draw(saved))


def test_page_picture_and_table_have_it(tokens, tmp_path):
    saved, words = loaded(tmp_path, tokens)
    seen = tokens.perplexity["train"]
    low, high = seen.max_interval
    assert f"{seen.max:.4g} ({low:.4g} to {high:.4g})" in words
    for text in ("Perplexity", "Token error", "Loss in nats a token", "over the sequences", "Cochran 1977"):
        assert text in words
    assert {"perplexity", "loss in nats a token", "token error in %"} <= set(written(draw(saved)))
    table = tokens.table()
    for text in ("perplexity A", "perplexity max", "token error max", f"{seen.max:.4g}"):
        assert text in table


def test_several_paths_side_by_side_have_it(tokens, beyond, tmp_path):
    _, words = loaded(tmp_path, tokens, beyond)
    assert "largest perplexity" in words
    assert "largest token error" in words
    lines = comparison_table({"p": tokens, "q": beyond}, {}, None, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "largest perplexity" in lines[0]
    assert f"{tokens.perplexity['train'].max:.4g}" in next(line for line in lines if line.startswith("p"))
    assert "> 1e6" in next(line for line in lines if line.startswith("q"))
    with open(tmp_path / "builders.csv", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert float(first["train.perplexity_max"]) == tokens.perplexity["train"].max
    assert float(second["test.perplexity_max"]) == math.inf


def test_pixels_have_their_errors_name_and_no_perplexity(tmp_path):
    saved, words = loaded(tmp_path, ch.evaluate(lines(), of_pixels(), points=5, refine=0))
    assert "Pixel error" in words
    assert "erplexity" not in words
    assert {"loss in nats a pixel", "pixel error in %"} <= set(written(draw(saved)))


def test_other_reports_are_as_they_were(tmp_path):
    saved, words = loaded(tmp_path, evaluation())
    assert "erplexity" not in words
    assert {"loss", "error in %"} <= set(written(draw(saved)))
    saved.content["task"]["unit"] = "<img>"  # not what we write
    assert render_html(saved, draw(saved)).count("<img>") == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize(
    ("low", "high"), [(3.4, 3.44), (3.25, 3.55), (0.001, 0.02), (0.1, 2.9), (3.0, 7.0), (2.0, 900.0), (15.0, 17.0)]
)
def test_perplexities_at_the_edge_stand_where_they_belong_and_apart(low, high, scale):
    axes = Figure().subplots()
    axes.set_yscale(scale)
    axes.set_ylim(low, high)
    name_perplexities(axes)
    beside = axes.child_axes[-1].yaxis
    words = beside.get_major_formatter().format_ticks(beside.get_major_locator()())
    for place, text in zip(beside.get_major_locator()(), words, strict=True):
        assert place == high if text == "> 1e6" else math.exp(place) == pytest.approx(float(text), rel=1e-5)
    assert len(words) >= (1 if high > 15 else 2)
    places = [axes.transData.transform((0, place)) for place in beside.get_major_locator()()]
    heights = [axes.transAxes.inverted().transform(place)[1] for place in places]
    assert all(0 <= height <= 1 + 1e-9 for height in heights)
    assert all(b - a >= 0.079 for a, b in itertools.pairwise(heights))
    assert axes.get_ylim() == pytest.approx((low, high))
