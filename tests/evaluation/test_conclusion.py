"""A verdict says what it is about: every kind of answer, on small paths whose answer is known."""

import html
import math
from dataclasses import replace

import pytest
import torch
from report_cases import CASES, half, logits, product, split

import connectivity_hooks as ch
from connectivity_hooks.evaluation.climb import climb_of_error, climb_of_loss
from connectivity_hooks.evaluation.measurement import Measurement, SampleScores, summarise
from connectivity_hooks.evaluation.phrases import limits
from connectivity_hooks.reports.html import render_html
from connectivity_hooks.reports.report import Report, Saved
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.guessing import Guess
from connectivity_hooks.tasks.loss import Terms

WORDS = {"proven", "connected", "undecided", "barrier"}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("error")
def test_the_answer_in_words_and_in_a_report(name):
    case = CASES[name]
    evaluations = case.make()
    conclusion = evaluations[0].conclusion
    assert (conclusion.verdict, case.says in conclusion.headline) == (case.verdict, True), conclusion.headline
    assert case.adds in " ".join(conclusion.sentences)
    for text in (conclusion.headline, *conclusion.sentences):
        assert text.endswith(".")
        assert not {"nan", "inf", "None"} & set(text.replace(",", " ").split())
    content = Report.of(evaluations).as_json()
    written = content["builders"][evaluations[0].path.builder]["conclusion"]
    assert (written["verdict"], written["headline"]) == (conclusion.verdict, conclusion.headline)
    assert {finding["verdict"] for finding in written["findings"].values()} <= WORDS
    page = html.unescape(render_html(Saved(content, ()), "")).replace("\N{NO-BREAK SPACE}", " ")
    assert conclusion.headline in page


def test_ends_that_are_the_same_only_after_alignment_are_said_to_be():
    (found,) = CASES["identical-ends"].make()
    aligned = replace(found, path=replace(found.path, alignment={"aligner": "swap"}))
    assert aligned.conclusion.headline == "Connected: once B is aligned, both ends have the same weights."
    assert aligned.conclusion.sentences[0] == "B was replaced by an equal copy aligned to A by swap."


def measured(t, climb, interval, error_climb=None, error_interval=None, excess=1.0, loss=0.1):
    """Return a measurement of which only the climbs matter."""
    error = None if error_climb is None else 0.1
    rise = (error_climb, error_interval)
    return Measurement(
        t, "train", loss + climb, 0, error, 0, excess, 0, climb, 0, *rise, climb, interval, *rise, "forward"
    )


@pytest.mark.parametrize(
    ("climb", "interval", "state"),
    [
        (0.1528, 0.0003, "rises"),
        (0.04, 0.001, "low"),
        (0.04, 0.02, "undecided"),
        (0.06, 0.02, "undecided"),
        (0.06, 0.001, "rises"),
        (0.0, 0.0, "low"),
        (-0.5, 0.1, "low"),
        (0.0, 0.24, "low"),
        (0.0, 0.26, "undecided"),
        (math.inf, math.inf, "rises"),
    ],
)
def test_a_loss_rises_where_its_whole_interval_is_above_what_counts(climb, interval, state):
    curve = [measured(0, 0, 0), measured(0.5, climb, interval), measured(1, 0, 0)]
    assert climb_of_loss(curve, Guess(2.5, 0.9)).counts_from == 0.05  # 2 % of guessing's loss
    assert climb_of_loss(curve, Guess(2.5, 0.9)).state == state


def test_two_of_forty_samples_decide_nothing():
    """Two samples that change are within the interval; the same share of 4000 is not."""
    found = {}
    for count in (40, 4000):
        wrong = torch.zeros(count)
        wrong[: count // 20] = 1.0
        train = split("train", logits(wrong, count), logits(3.0 - 3.5 * wrong, count), half(count), count)
        error = climb_of_error(product(train)[0].curves["train"])
        assert error.height == pytest.approx(0.05)
        found[count] = error.state
    assert found == {40: "undecided", 4000: "rises"}


def test_the_choice_of_the_highest_point_widens_the_interval():
    """0.06 ± 0.0075 of one point is above 0.05, and the highest of a hundred such points need not be."""
    points = [measured(t, 0.06, 0.0075) for t in torch.linspace(0.01, 0.99, 100).tolist()]
    ends = measured(0, 0, 0), measured(1, 0, 0)
    assert climb_of_loss([ends[0], points[0], ends[1]], Guess(2.5, 0.9)).state == "rises"
    assert climb_of_loss([ends[0], *points, ends[1]], Guess(2.5, 0.9)).state == "undecided"


def test_ends_of_unlike_loss_make_no_rise_of_their_own():
    """Along a loss that is convex in t, no figure of a verdict rises, however far apart the ends are."""
    evaluation = product(split("train", logits(1.0), logits(0.5), half()), ends=((3.0, 0.0), (3.0, 3.0)))[0]
    figures = evaluation.barriers["train"]
    assert figures.barrier_entezari == figures.climb == figures.error_climb == 0
    assert figures.barrier_frankle > 0.2  # half of the ends' difference, which is no rise
    assert evaluation.conclusion.verdict == "connected"


def test_a_proven_bound_decides_on_the_loss_and_the_error_is_judged_beside_it():
    (evaluation,) = CASES["proven"].make()
    errors = [replace(p, error=0.06, error_climb=0.5 if 0 < p.t < 1 else 0.0) for p in evaluation.curves["train"]]
    rising = replace(evaluation, curves={**evaluation.curves, "train": errors}).conclusion
    assert rising.verdict == "barrier"
    assert "the train error rises 50.00" in rising.headline
    assert "; it is proven that the loss never exceeds" in rising.headline
    few = [replace(p, error_climb_interval=0.3, error_rise_interval=0.3) for p in evaluation.curves["train"]]
    unknown = replace(evaluation, curves={**evaluation.curves, "train": few}).conclusion
    assert unknown.verdict == "proven"
    assert unknown.headline.endswith("; too few samples to tell whether the error rises.")


def test_samples_of_which_nothing_counts_are_not_counted_in_words():
    labels = torch.full((60,), -100)
    labels[:1] = 1
    task = Task(lambda: torch.nn.Linear(4, 3), CachedSplit("train", torch.randn(60, 4), labels))
    ends = [{"weight": torch.randn(3, 4), "bias": torch.zeros(3)}] * 2
    ends[1] = {name: 1.01 * tensor for name, tensor in ends[0].items()}
    found = ch.evaluate(ch.Path.from_points(ends), task)
    assert "on 1 train sample " in found.conclusion.headline


@pytest.mark.parametrize("name", ["tiny-data", "errors-without-loss-barrier", "test-differs", "huge-barrier"])
def test_words_and_table_have_one_interval_of_a_rise(name):
    evaluation, *_ = CASES[name].make()
    seen = 0
    for part, found in evaluation.conclusion.findings.items():
        for figure, climb, unit in (("loss", found.loss, ""), ("error", found.error, " points")):
            if climb.is_flat or climb.most - climb.least < 1e-5:
                continue
            (text,) = [t for t in evaluation.conclusion.sentences if t.startswith(f"On {part} the {figure} ")]
            interval = " to ".join(limits(climb.least, climb.most, figure))
            before = text.partition(" above the worse end")[0]
            assert before.endswith(f"{unit} (95 % interval {interval})")
            assert text.count("95 %") == 1
            assert "±" not in before
            assert interval in evaluation.table()
            seen += 1
    assert seen


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [
        (-0.13, 0.2163, "0 to 0.22"),
        (-1e-5, 2.2e-4, "0 to 0.00022"),
        (1.1781, 1.1884, "1.178 to 1.188"),
        (31.2, 45.71, "31 to 46"),
    ],
)
def test_limits_have_the_digits_that_their_distance_has(least, most, words):
    assert " to ".join(limits(least, most, "loss")) == words


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_the_interval_holds_the_rise_where_which_end_is_worse_is_not_known(gap):
    """A is a little better than B in truth, and worse in many samples of 60: only a fourth of the noise is A's."""
    generator, runs, rise, above = torch.Generator().manual_seed(0), 300, 0.3, 0
    for _ in range(runs):
        a, noise, own = torch.randn(3, 60, generator=generator, dtype=torch.float64)
        b = a + 3 * noise + gap
        middle = a + 0.3 * own + gap + rise
        points = [(0.0, a), (0.5, middle), (1.0, b)]
        ends = scored(a), scored(b)
        climb = climb_of_loss([summarise(t, "train", scored(x), ends, "forward") for t, x in points], None)
        above += climb.least > rise
    assert above / runs < 0.05  # 2.5 of 100 are meant; paired with the end that looks worse alone it is 25


def scored(losses):
    return SampleScores(Terms(losses, torch.ones_like(losses)), None)
