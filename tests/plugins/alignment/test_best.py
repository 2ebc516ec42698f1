"""The best of all closed forms: what is measured, what is kept, and what is said of it."""

import json

import pytest
import torch
from safetensors.torch import save_file
from small_networks import trained
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.cli.connect import command as connect_command
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.contracts import make_options
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.structure import read_symmetries, task_program, transformed
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks_alignment import best, matching
from connectivity_hooks_alignment.best import Best
from connectivity_hooks_alignment.matching.closed_forms import NOTHING, Tried, add_closed_forms

WAYS = [
    NOTHING,
    "weights",
    "activations (correlation)",
    "activations (correlation), then weights",
    "activations (covariance)",
    "activations (covariance), then weights",
]


class TestBest(AlignerSuite):
    aligner = Best


class TestBestAndLearned(AlignerSuite):
    aligner = Best
    options = {"budget": "5steps"}  # noqa: RUF012


def mlp():
    return nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=generator)
    y = (x.square() @ torch.randn(5, 3, generator=generator)).argmax(1)
    return Task(mlp, CachedSplit("train", x, y), batch_size=100)


@pytest.fixture(scope="module")
def pair(task):
    return trained(task, 1, rate=0.01), trained(task, 2, rate=0.01)


def half_way(task, a, b):
    """Return the loss at the middle in float64, written out."""
    model = mlp().double()
    model.load_state_dict({name: (a[name].double() + b[name].double()) / 2 for name in a})
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(task.train.inputs.double()), task.train.targets()))


def found(task, pair, **options):
    return Best(make_options(Best.Options, options, "best")).align(*pair, task)


def test_the_lowest_loss_half_way_is_kept_and_all_are_told(task, pair):
    alignment = found(task, pair)
    record = alignment.record
    assert list(record["middles"]) == WAYS
    assert record["middles"][record["kept"]] == pytest.approx(min(record["middles"].values()), rel=2e-6)
    assert record["middles"][NOTHING] == pytest.approx(half_way(task, *pair), rel=1e-5)
    assert record["middles"][record["kept"]] == pytest.approx(half_way(task, pair[0], alignment.weights), rel=1e-5)
    assert record["middles"][record["kept"]] < 0.7 * record["middles"][NOTHING]
    assert record["samples"] == 300
    assert record["failed"] == {}


def test_one_sentence_says_what_was_kept_and_why(task, pair):
    record = found(task, pair).record
    kept, *others = sorted(record["middles"].values())
    assert record["why"].startswith(
        f"kept: {record['kept']}; its loss half way, on 300 training samples, is {kept:.4g}"
    )
    assert f"instead of {others[0]:.4g} by " in record["why"]
    assert record["why"].endswith(f"and {record['middles'][NOTHING]:.4g} without alignment")


def test_ends_that_are_equal_stay_as_they_are_bit_for_bit(task, pair):
    alignment = found(task, (pair[0], pair[0]))
    assert alignment.record["kept"] == NOTHING
    assert all(torch.equal(alignment.weights[name], pair[0][name]) for name in pair[0])


def test_where_every_way_is_worse_nothing_is_done(task, pair, monkeypatch):
    monkeypatch.setattr(matching.closed_forms, "middle_loss", lambda a, b, *_: 1.0 if b is pair[1] else 2.0)
    alignment = found(task, pair)
    assert alignment.record["kept"] == NOTHING
    assert alignment.weights is pair[1]
    assert alignment.record["why"] == (
        f"kept: {NOTHING}; its loss half way, on 300 training samples, is 1, instead of 2 by weights"
    )


def test_a_middle_that_is_not_finite_is_never_kept(task, pair, monkeypatch):
    losses = iter([float("nan"), float("inf"), 3.0, 2.0, float("nan"), 4.0])
    monkeypatch.setattr(matching.closed_forms, "middle_loss", lambda *_: next(losses))
    record = found(task, pair).record
    assert record["kept"] == WAYS[3]
    assert [record["middles"][name] for name in WAYS] == [None, None, 3.0, 2.0, None, 4.0]


def test_a_way_that_fails_spoils_no_other(task, pair, monkeypatch):
    def fails(*_, **__):
        raise InputError("no such luck")

    monkeypatch.setattr(matching.closed_forms, "recorded", fails)
    record = found(task, pair).record
    assert record["failed"] == {"activations": "no such luck"}
    assert record["kept"] == "weights"


def test_learning_begins_with_the_best_and_is_kept_where_it_is_better(task, pair):
    plain = found(task, pair).record
    learned = found(task, pair, budget="60steps").record
    name = f"learned from {plain['kept']}"
    assert list(learned["middles"]) == [*WAYS, name]
    assert learned["middles"][learned["kept"]] == pytest.approx(min(learned["middles"].values()), rel=2e-6)
    assert learned["steps"] == 60


def test_learning_that_cannot_be_done_leaves_the_closed_form(task, pair, monkeypatch):
    def fails(*_, **__):
        raise InputError("no gradients")

    monkeypatch.setattr(best, "learn", fails)
    record = found(task, pair, budget="5steps").record
    assert record["kept"] in WAYS
    assert list(record["failed"].values()) == ["no gradients"]


def test_a_budget_that_is_none_is_refused_before_anything_is_computed():
    with pytest.raises(UsageError, match=r"--best\.budget: expected a budget such as 300steps"):
        make_options(Best.Options, {"budget": "much"}, "best")


def test_matching_goes_on_from_where_activations_lead(task, pair):
    """Weight matching from a start ends no farther in weights than it began."""
    symmetries = read_symmetries(task_program(task))
    tried = Tried(symmetries, *pair, task)
    add_closed_forms(tried)
    ends = {each.name: transformed(symmetries, pair[1], each.elements, like=pair[0]) for each in tried.candidates}
    for measure in ("correlation", "covariance"):
        before, after = (distance(pair[0], ends[f"activations ({measure}){more}"]) for more in ("", ", then weights"))
        assert after < before


def distance(one, other):
    return sum(float((one[name] - other[name]).square().sum()) for name in one)


# From the command line

NETWORK = """
from torch import nn


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 99), nn.ReLU(), nn.Linear(99, 99), nn.ReLU(), nn.Linear(99, 10))
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    (folder / "net.py").write_text(NETWORK)
    words = ["--model", f"{folder}/net.py:make", "--data", "digits"]
    task = ch.make_task(model=f"{folder}/net.py:make", data="digits")
    for seed in (1, 2):
        save_file(trained(task, seed), folder / f"{seed}.safetensors")
    return [str(folder / "1.safetensors"), str(folder / "2.safetensors"), *words]


def test_digits_are_aligned_from_the_command_line(digits, tmp_path, capfd):
    def barrier(*words):
        assert exit_status("connect", lambda: connect_command, [*digits, *words, "--json", "--points", "5"]) == 0
        return json.loads(capfd.readouterr().out)["builders"]["linear"]["train"]["barrier_entezari"]

    plain = barrier()
    assert barrier("--align", "activation-matching") < 0.5 * plain
    assert barrier("--align", "best", "--out", str(tmp_path)) < 0.5 * plain
    record = ch.Path.load(tmp_path / "linear.path.safetensors").alignment["record"]
    assert record["why"].startswith("kept: ")
