"""Corrections: where they are applied, what they void, and that the contract takes one that knows both ends."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.contracts import Correction, Prepared
from connectivity_hooks.errors import ConnectivityError, InputError, UsageError
from connectivity_hooks.evaluation.measuring import make_correction
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.evaluation.sampling import corrected_sample, sampled
from connectivity_hooks.model.inputs import concatenated
from connectivity_hooks.model.weights import same
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.testing import CorrectionSuite


def net():
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def task(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 5, generator=generator, dtype=dtype)
    y = torch.arange(120) % 3
    return Task(net, CachedSplit("train", x, y), CachedSplit("test", x.flip(0), y.flip(0)), dtype=dtype, batch_size=50)


def ends():
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append({name: w.double() for name, w in net().state_dict().items()})
    return found


class _Scaled(Prepared):
    """Channel means and deviations of the first layer, moved to the interpolation of both ends'."""

    notes = ("the first layer alone",)

    def __init__(self, moving):
        self._moving = moving
        self._inputs = concatenated([inputs for inputs, _ in moving.task.train.batches(64)])
        self._ends = []
        for t in (0.0, 1.0):
            moving.go(t)
            self._ends.append(self._measure())

    def apply(self, t):
        (mean_a, std_a), (mean_b, std_b) = self._ends
        mean, std = self._measure()
        scale = torch.lerp(std_a, std_b, t) / std
        layer = self._moving.model[0]
        with torch.no_grad():
            layer.weight *= scale[:, None]
            layer.bias.copy_((layer.bias - mean) * scale + torch.lerp(mean_a, mean_b, t))

    @torch.no_grad()
    def _measure(self):
        values = self._moving.model[0](self._inputs)
        return values.mean(0), values.std(0)


class Repair(Correction):
    """Each channel's statistics at t are what lies between both ends'."""

    name = "repair-first"
    everywhere = False

    def prepare(self, moving):
        return _Scaled(moving)


class Everywhere(Repair):
    """The same at the ends."""

    everywhere = True


class TestRepair(CorrectionSuite):
    correction = Repair

    def make_task(self):
        return task()

    def make_path(self):
        return Path.from_points(ends())


def test_a_correction_knows_both_ends_and_gives_the_statistics_between_them():
    a, b = ends()
    found = corrected_sample(Path.from_points([a, b]), 0.25, task(), Repair())
    x = task().train.inputs
    one, other, here = (x @ w["0.weight"].T + w["0.bias"] for w in (a, b, found))
    torch.testing.assert_close(here.std(0), 0.75 * one.std(0) + 0.25 * other.std(0))
    torch.testing.assert_close(here.mean(0), 0.75 * one.mean(0) + 0.25 * other.mean(0))
    assert same(found["2.weight"], sampled(Path.from_points([a, b]), 0.25)["2.weight"])


def test_what_is_measured_is_what_is_written_and_the_report_says_so():
    path = Path.from_points(ends())
    evaluation = ch.evaluate(path, task(), points=3, refine=0, correct=Repair())
    weights = corrected_sample(path, 0.5, task(), Repair())
    model = net().double()
    model.load_state_dict(weights)
    split = task().train
    expected = nn.functional.cross_entropy(model(split.inputs), split.targets()).item()
    assert evaluation.curves["train"][1].loss == pytest.approx(expected, rel=1e-12)
    assert (evaluation.correction, evaluation.correction_options) == ("repair-first", {"seed": 0})
    assert "the first layer alone" in evaluation.notes
    said = [text for text in evaluation.conclusion.sentences if "repair-first" in text]
    assert said == ["The weights were corrected between the ends by repair-first before they were measured."]


def outer(points):
    """Return the two ends and, between them, points that move the output layer alone."""
    a, b = points
    return [a, {**a, "2.weight": b["2.weight"], "2.bias": b["2.bias"]}, b]


def test_it_is_applied_at_no_end_and_nowhere_that_a_guarantee_reaches():
    path = Path.from_points(outer(ends()), positions=[0, 0.5, 1], guarantees=["convex", "measured"])
    moving = ModelOnPath(path, task())
    here = {t: Corrected(moving, Repair()).corrects(t) for t in (0.0, 0.2, 0.5, 0.6, 1.0)}
    assert here == {0.0: False, 0.2: False, 0.5: False, 0.6: True, 1.0: False}
    bends = replace(path, guarantees=("measured", "measured"))
    assert Corrected(ModelOnPath(bends, task()), Repair()).corrects(0.5)
    assert all(Corrected(moving, Everywhere()).corrects(t) for t in here)
    assert not any(Corrected(moving, None).corrects(t) for t in here)


def test_guarantees_stand_where_they_are_left_alone_and_are_void_elsewhere():
    a, b = ends()
    path = Path.from_points(outer([a, b])[:2], guarantees=["convex"])
    spared = ch.evaluate(path, task(), correct=Repair())
    plain = ch.evaluate(path, task())
    assert spared.bound == plain.bound
    assert spared.bound["train"] is not None
    void = ch.evaluate(path, task(), points=3, refine=0, correct=Everywhere())
    assert void.bound == {"train": None, "test": None}
    assert void.guarantees == ("measured",)
    assert void.proof.gaps[0] == "the weights were corrected at every t (repair-first), and no guarantee is about them"
    assert any("the ends among them, by repair-first" in text for text in void.conclusion.sentences)


def test_a_correction_that_fails_is_one_line_with_its_name_and_t():
    class Broken(Prepared):
        def apply(self, t):
            raise RuntimeError("no\nluck")

    class Fails(Repair):
        """Fails at a t."""

        def prepare(self, moving):
            return Broken()

    class FailsAtOnce(Repair):
        """Fails before."""

        def prepare(self, moving):
            return [][1]

    with pytest.raises(InputError, match=r"^correction repair-first at t = 0\.5: RuntimeError: no luck$"):
        ch.evaluate(Path.from_points(ends()), task(), points=3, refine=0, correct=Fails())
    with pytest.raises(InputError, match=r"^correction repair-first: preparing: IndexError: "):
        ch.evaluate(Path.from_points(ends()), task(), correct=FailsAtOnce())


def test_a_correction_that_replaces_a_tensor_is_named_with_it():
    class Replaces(Prepared):
        def __init__(self, moving):
            self.layer = moving.model[0]

        def apply(self, t):
            self.layer.bias.data = self.layer.bias.data + 1

    class Rebinding(Repair):
        """Replaces what it should write into."""

        def prepare(self, moving):
            return Replaces(moving)

    with pytest.raises(InputError, match=r"^correction repair-first at t = 0\.5: 0\.bias was replaced"):
        ch.evaluate(Path.from_points(ends()), task(), points=3, refine=0, correct=Rebinding())


def test_names_and_options_are_checked():
    assert make_correction(None) is make_correction("none") is None
    assert make_correction("batch-norm", {"samples": 64}, seed=3).used_options() == {"samples": 64, "seed": 3}
    with pytest.raises(UsageError, match="unknown correction 'batchnorm'; did you mean 'batch-norm'"):
        ch.evaluate(Path.from_points(ends()), task(), correct="batchnorm")
    with pytest.raises(UsageError, match=r"--batch-norm\.samples: expected int ≥ 2"):
        make_correction("batch-norm", {"samples": 1})
    with pytest.raises(UsageError, match=r"options of a correction are given \(samples\)"):
        ch.evaluate(Path.from_points(ends()), task(), correct_options={"samples": 3})


def _hooked(moving):
    moving.model[0].register_forward_hook(lambda module, given, outputs: outputs * 3)


def _training(moving):
    moving.model.train()


def _attribute(moving):
    moving.model[1].inplace = True


def _module(moving):
    moving.model[1] = nn.Tanh()


def _forward(moving):
    moving.model.forward = lambda x: torch.zeros(len(x), 3)


def _data(moving):
    moving.task.train.inputs.mul_(3)


def _path(moving):
    moving.path.start["0.weight"].mul_(2)


@pytest.mark.parametrize("when", ["preparing", "at t = 0.5"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_hooked, "0, its hooks: _forward_hooks"),
        (_training, "its attribute training"),
        (_attribute, "1, its attribute inplace"),
        (_module, "its modules"),
        (_forward, "its attribute forward"),
        (_data, "the train data (inputs)"),
        (_path, "the path's point 0, 0.weight"),
    ],
)
def test_a_correction_that_changes_more_than_weights_is_named_with_what(when, change, words):
    class Leaving(Prepared):
        def __init__(self, moving):
            self.moving = moving

        def apply(self, t):
            if when != "preparing":
                change(self.moving)

    class Leaves(Repair):
        """Leaves something behind."""

        def prepare(self, moving):
            if when == "preparing":
                change(moving)
            return Leaving(moving)

    with pytest.raises(InputError) as caught:
        ch.evaluate(Path.from_points(ends()), task(), points=3, refine=0, correct=Leaves())
    start = (
        f"correction repair-first{':' if when == 'preparing' else ''} {when}: it changed more than weights ({words})"
    )
    assert str(caught.value).startswith(start)


def test_where_a_correction_is_applied_is_asked_once():
    class Turning(Repair):
        """Says one thing first and another then."""

        asked = 0

        @property
        def everywhere(self):
            self.asked += 1
            return self.asked > 1

    path = Path.from_points(outer(ends())[:2], guarantees=["convex"])
    plain, found = ch.evaluate(path, task()), ch.evaluate(path, task(), correct=Turning())
    assert found.curves == plain.curves
    assert found.bound == plain.bound


@pytest.mark.parametrize("prepared", [None, 3, {}])
def test_a_correction_that_prepares_nothing_is_named_and_not_taken_for_one_that_corrects(prepared):
    class Nothing(Repair):
        """Corrects nothing."""

        name = "nothing"

        def prepare(self, moving):
            return prepared

    words = rf"correction nothing: prepare\(\) returned a {type(prepared).__name__}, expected a Prepared"
    with pytest.raises(ConnectivityError, match=words):
        ch.evaluate(Path.from_points(ends()), task(), points=3, correct=Nothing())
