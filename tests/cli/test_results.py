"""What a finished command prints: words first, then figures, then where the report is; or JSON alone."""

import json
import pathlib
from types import SimpleNamespace

from connectivity_hooks.cli.results import show

RESULT = SimpleNamespace(as_json=lambda: {"loss": None}, table=lambda: "k  loss\n0  0.1")
ANSWERS = [
    SimpleNamespace(headline="Connected.", sentences=("On train the loss stays.", "On test too.")),
    SimpleNamespace(headline="Not connected.", sentences=()),
]


def test_words_come_first_then_figures_then_the_page(capsys):
    show(RESULT, ANSWERS, False, pathlib.Path("out") / "report.html")
    assert capsys.readouterr().out.splitlines() == [
        "Connected.",
        "  On train the loss stays.",
        "  On test too.",
        "Not connected.",
        "k  loss",
        "0  0.1",
        "Report: out/report.html",
    ]


def test_no_page_is_named_where_none_was_written(capsys):
    show(RESULT, ANSWERS[1:], False, None)
    assert "Report" not in capsys.readouterr().out


def test_json_is_all_there_is(capfd):
    show(RESULT, ANSWERS, True, pathlib.Path("out") / "report.html")
    assert json.loads(capfd.readouterr().out) == {"loss": None}
