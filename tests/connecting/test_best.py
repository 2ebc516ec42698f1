"""Which of several ways is tried, in which order, when it ends, which is kept, and the sentence that says why."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

import connectivity_hooks as ch
from connectivity_hooks.connecting.best import Candidates, best_of, keep_best
from connectivity_hooks.contracts import Aligner, Builder
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.paths import Path


class Line(Builder):
    name, role = "line", "line"

    def build(self, a, b, task): ...


class Proof(Line):
    name, role = "proof", "proof"


class Curve(Line):
    name, role = "curve", "curve"


class Near(Aligner):
    name = "near"

    def align(self, a, b, task): ...


class Far(Near):
    name = "far"


CANDIDATES = Candidates({"line": [Line()], "proof": [Proof()], "curve": [Curve()]}, [Near(), Far()])


def measured(loss, verdict="barrier", test=None):
    findings = {"train": SimpleNamespace(verdict=verdict), "test": SimpleNamespace(verdict=test or verdict)}
    return SimpleNamespace(
        barriers={"train": SimpleNamespace(loss_max=loss)},
        conclusion=SimpleNamespace(verdict=verdict, findings=findings),
        bound={"train": loss if verdict == "proven" else None},
        path=Path.from_points([{}, {}]),
    )


@dataclass
class Attempts:
    """What each way gives; the others refuse."""

    answers: dict
    tried: list = field(default_factory=list)
    evaluations: dict = field(default_factory=dict)
    refused: dict = field(default_factory=dict)

    def attempt(self, way):
        self.tried.append(way.name)
        found = self.answers.get(way.name)
        if found is None:
            self.refused[way.name] = "it cannot"
            return None
        self.evaluations[way.name] = found
        return found

    def require_one(self):
        if not self.evaluations:
            raise InputError("none")


def test_from_the_line_to_the_curve_that_begins_where_the_line_is_lowest():
    losses = {"line": 2.0, "line+near": 0.5, "line+far": 0.9, "proof": 0.7, "curve+near": 0.1, "curve": 0.0}
    attempts = Attempts({name: measured(loss) for name, loss in losses.items()})
    kept = keep_best(CANDIDATES, attempts)
    assert attempts.tried == ["line", "line+near", "line+far", "proof", "curve+near"]
    assert kept.name == "curve+near"
    expected = "curve+near is kept: its largest train loss is 0.1, the smallest"
    assert kept.why == f"{expected} (0.5 along line+near, 0.7 along proof, 0.9 along line+far)."
    record = kept.path.options["best"]
    assert (record["kept"], record["why"], record["refused"]) == (kept.name, kept.why, {})
    assert record["largest_loss"] == {name: losses[name] for name in attempts.tried}


def test_a_flat_line_ends_it_at_once():
    attempts = Attempts({"line": measured(0.2, "connected")})
    kept = keep_best(CANDIDATES, attempts)
    assert attempts.tried == ["line"]
    assert (
        kept.why
        == "line is kept: its largest train loss is 0.2, and nothing rises along it, so nothing else was tried."
    )


@pytest.mark.parametrize(("verdict", "test"), [("undecided", None), ("connected", "barrier"), ("barrier", "connected")])
def test_a_line_that_is_not_seen_to_be_flat_everywhere_does_not(verdict, test):
    attempts = Attempts({"line": measured(0.2, verdict, test), "curve": measured(0.3)})
    assert keep_best(CANDIDATES, attempts).name == "line"
    assert attempts.tried[-1] == "curve"


def test_what_is_proven_goes_before_anything_lower_that_is_measured():
    attempts = Attempts(
        {"line": measured(2.0), "line+near": measured(0.01, "undecided"), "proof": measured(0.3, "proven")}
    )
    kept = keep_best(CANDIDATES, attempts)
    assert kept.name == "proof"
    assert "proven never to exceed 0.3" in kept.why
    assert attempts.tried[-1] == "proof"  # no curve could be better


def test_of_equal_ones_the_simplest_is_kept():
    attempts = Attempts({"line": measured(0.5), "line+near": measured(0.50001), "curve": measured(0.4999)})
    kept = keep_best(CANDIDATES, attempts)
    assert kept.name == "line"
    assert kept.why == "line is kept: its largest train loss is 0.5, as that of line+near is, and it is simpler."


def test_what_refuses_spoils_nothing_and_is_in_the_record():
    attempts = Attempts({"line": measured(float("nan")), "curve": measured(float("inf"))})
    kept = keep_best(CANDIDATES, attempts)
    assert kept.name == "line"
    assert set(kept.path.options["best"]["refused"]) == {"line+near", "line+far", "proof"}
    assert kept.path.options["best"]["largest_loss"] == {"line": None, "curve": None}
    with pytest.raises(InputError):
        keep_best(CANDIDATES, Attempts({}))
    alone = keep_best(CANDIDATES, Attempts({"curve": measured(0.5)}))
    assert alone.why == "curve is kept: its largest train loss is 0.5, and nothing else could be tried."


def test_a_loss_that_is_no_number_is_the_highest():
    found = {"a": measured(float("nan")), "b": measured(7.0), "c": measured(float("-inf"))}
    assert best_of(found) == "b"


def test_in_python_it_is_a_path_that_says_what_was_tried(task, ends, tmp_path, equal):
    given = {"builder": "best", "budget": "3steps", "seed": 1}
    path = ch.connect(*ends, task, **given)
    record = path.options["best"]
    assert path.builder == record["kept"].partition("+")[0]
    assert record["largest_loss"][record["kept"]] == min(record["largest_loss"].values()) or "proven" in record["why"]
    kept = ch.connect(*ends, task, **given, keep=tmp_path)
    again = ch.connect(*ends, task, **given, keep=tmp_path)
    for other in (kept, again):
        assert equal(path, other)
        assert other.options["best"] == record
    path.save(tmp_path / "one.path.safetensors")
    assert ch.Path.load(tmp_path / "one.path.safetensors").options["best"] == record


def test_a_budget_is_for_each_method_that_trains(task, ends):
    path = ch.connect(*ends, task, builder="bezier", budget="2steps", align="learned-matching")
    assert (path.options["budget"], path.alignment["options"]["budget"]) == ("2steps", "2steps")
    own = ch.connect(*ends, task, builder="bezier", budget="2steps", options={"budget": "1steps"})
    assert own.options["budget"] == "1steps"
    assert "budget" not in ch.connect(*ends, task, budget="2steps").options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": "soon"}, "budget: expected a budget such as 300steps"),
        ({"builder": "bezier", "options": {"budget": "soon"}}, "--bezier.budget: expected a budget"),
        ({"builder": "best", "options": {"budget": "3steps"}}, "best chooses among several"),
        ({"builder": "best", "align_options": {"sweeps": 3}}, "no aligner is named"),
        ({"builder": "best", "align": "wieght-matching"}, "did you mean 'weight-matching'"),
    ],
)
def test_what_is_wrong_is_said_before_a_file_is_opened(task, given, said):
    with pytest.raises(UsageError, match=said) as refused:
        ch.connect("none", "none", task, **given)
    assert "\n" not in str(refused.value)
