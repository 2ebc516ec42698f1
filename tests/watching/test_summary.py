import xml.etree.ElementTree as ElementTree

import pytest
from watched_training import Mean, data

import connectivity_hooks as ch
from connectivity_hooks.watching.history import Row
from connectivity_hooks.watching.schedule import Clock
from connectivity_hooks.watching.summary import history_figure, summary_table


def row(step, layer, measured, threshold=0.0, condition="separability", reason=""):
    status = "invalid" if measured is None else "holds" if measured <= threshold else "fails"
    return Row(step, 0, 0.0, 0.0, "model", condition, layer, status, measured, threshold, "misclassified", reason)


ROWS = [
    *(row(step, "layer1", errors) for step, errors in ((0, 300.0), (10, 40.0), (20, 0.0), (30, 0.0))),
    *(row(step, "layer2", errors) for step, errors in ((0, 200.0), (10, 0.0), (20, 1.0), (30, None))),
]


def test_the_table_says_first_and_last_figures_and_since_when_the_verdict_stands():
    text = summary_table(ROWS, Clock(step=30, elapsed=200.0, spent=1.0))
    lines = [line.split() for line in text.splitlines()]
    assert lines[2] == ["separability", "layer1", "4", "300", "0", "0", "misclassified", "holds", "20"]
    assert lines[3][:6] == ["separability", "layer2", "4", "200", "1", "0"]
    assert lines[3][-2:] == ["invalid", "30"]
    assert text.endswith("4 checks in 30 steps; watching took 1.00 s of 200.00 s (0.50%)")


def test_reasons_stand_below_the_table_once_and_make_no_line_of_it_wider():
    reason = "the model on a batch of inputs (3, 1, 8, 8): " + "a long story " * 9
    rows = [row(1, f"layer{index}", None, reason=reason) for index in range(5)]
    text = summary_table([*rows, row(1, "rank", 1.0)], Clock(step=1, elapsed=2.0, spent=1.0))
    table, cost = text.split("\n\n")
    assert cost.startswith("1 checks")
    assert max(map(len, table.splitlines()[:-1])) < 120
    assert table.splitlines()[-1] == f"separability: layer0, layer1, layer2 and 2 more: {reason}"


def test_the_figure_draws_what_was_measured_with_its_threshold():
    figure = history_figure([*ROWS, row(10, None, 0.5, 0.7, condition="rank")])
    first, second = figure.axes
    curves = {line.get_label(): line for line in first.lines}
    assert list(curves["layer1"].get_xdata()) == [0, 10, 20, 30]
    assert list(curves["layer1"].get_ydata()) == [300.0, 40.0, 0.0, 0.0]
    assert list(curves["layer2"].get_xdata()) == [0, 10, 20]
    assert list(curves["threshold 0"].get_ydata()) == [0.0, 0.0]
    assert list(curves["not measurable"].get_xdata()) == [30]
    assert first.get_yscale() == "symlog"
    assert [line.get_label() for line in second.lines] == ["whole network", "threshold 0.7"]
    low, high = first.get_ylim()
    assert low < 0
    assert high > 300


def test_layers_without_number_have_colours_in_order_of_depth():
    figure = history_figure([row(0, f"layer{index}", float(index)) for index in range(20)])
    lines = [line for line in figure.axes[0].lines if "layer" in str(line.get_label())]
    assert len({line.get_color() for line in lines}) == 20


def test_summary_and_pictures_are_written_at_the_end(tmp_path, net):
    with ch.watch(net, data(), conditions=[Mean()], every=1, out=tmp_path) as watch:
        watch.step()
        watch.step()
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8").startswith("condition")
    assert ElementTree.parse(tmp_path / "watch.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "watch.png").read_bytes().startswith(b"\x89PNG")
    assert "2 checks in 2 steps" in watch.summary()
    assert len(watch.plot().axes) == 1


def test_they_are_written_after_an_exception_too(tmp_path, net):
    def fail():
        with ch.watch(net, data(), conditions=[Mean()], every=1, out=tmp_path) as watch:
            watch.step()
            raise RuntimeError("user")

    with pytest.raises(RuntimeError, match="user"):
        fail()
    assert (tmp_path / "watch.svg").exists()


def test_nothing_measured_is_said(net):
    watch = ch.watch(net, data(), conditions=[Mean()])
    assert watch.summary().startswith("0 checks in 0 steps")
    assert watch.plot().texts[0].get_text() == "nothing was measured"


def test_hostile_names_are_drawn_as_they_are(tmp_path):
    rows = [row(0, r"$\frac{$", 1.0), row(0, "<img onerror=x>", 2.0)]
    figure = history_figure(rows)
    figure.savefig(tmp_path / "a.svg")
    assert "<img" not in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "\x1b" not in summary_table([row(0, "\x1b[31m", 1.0)], Clock())
