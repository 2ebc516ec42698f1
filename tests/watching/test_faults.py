"""What goes wrong is named in one line, once, and the training goes on; strict raises it."""

import warnings

import pytest
import torch
from torch import nn
from watched_training import Mean, data, steps

import connectivity_hooks as ch
from connectivity_hooks.contracts import Condition, Verdict
from connectivity_hooks.errors import InputError

X, Y = data()


class Failing(Condition):
    """Fails in the way it is told to."""

    name = "failing"
    error = RuntimeError("the condition's own fault")

    def check(self, observation):
        """Raise."""
        raise self.error


def failing(error):
    condition = Failing()
    condition.error = error
    return condition


def watched(model, **options):
    """Train 6 steps, watched at 2, 4 and 6; return the watch and what was warned of."""
    options = {"conditions": [Mean()], "every": 2, **options}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with ch.watch(model, **options) as watch:
            steps(model, 6, watch, targets=options.get("mode") == "training")
    assert watch.steps == 6
    return watch, [str(warning.message) for warning in said if issubclass(warning.category, UserWarning)]


ERRORS = [
    (RuntimeError("the condition's own fault"), "RuntimeError: the condition's own fault"),
    (
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB"),
        "OutOfMemoryError: CUDA out of memory. T",
    ),
    (MemoryError("no memory"), "it needs more memory than there is"),
    (InputError("layer x: expected y"), "layer x: expected y"),
]


@pytest.mark.parametrize(("error", "line"), ERRORS)
def test_a_check_that_fails_is_said_once_and_recorded_and_the_others_go_on(net, error, line):
    watch, said = watched(net, probe=(X, Y), conditions=[failing(error), Mean()])
    assert len(said) == 1
    assert said[0].startswith(f"watch: failing cannot be measured: {line}")
    assert said[0].endswith("the training goes on")
    assert "\n" not in said[0]
    rows = [row for row in watch.history if row.condition == "failing"]
    assert [(row.step, row.status) for row in rows] == [(2, "invalid"), (4, "invalid"), (6, "invalid")]
    assert all(line in row.reason for row in rows)
    assert {row.status for row in watch.history if row.condition == "mean"} <= {"holds", "fails"}


def test_strict_raises_it(net):
    with pytest.raises(RuntimeError, match="own fault"):
        watched(net, probe=(X, Y), conditions=[Failing()], strict=True)
    assert net.training


def test_an_interruption_is_not_caught(net):
    with pytest.raises(KeyboardInterrupt):
        watched(net, probe=(X, Y), conditions=[failing(KeyboardInterrupt())])


@pytest.mark.parametrize("mode", ["probe", "training"])
@pytest.mark.parametrize("condition", ["separability", "feature-rank"])
def test_nan_features_are_invalid_and_named(net, mode, condition):
    with torch.no_grad():
        net[0].bias.fill_(torch.nan)
    options = {"mode": mode, "samples": 32, "capture_every": 1} if mode == "training" else {"probe": (X, Y)}
    watch, said = watched(net, conditions=condition, layers="2", **options)
    assert said == [
        f"watch: {condition}: 2 cannot be measured: its features hold NaN or Inf (step 2); the training goes on"
    ]
    assert {row.status for row in watch.history} == {"invalid"}
    with pytest.raises(InputError, match="hold NaN or Inf"):
        watched(net, conditions=condition, layers="2", strict=True, **options)


class Bypassing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.idle, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(nn.functional.linear(self.first(x), self.idle.weight))


@pytest.mark.parametrize("mode", ["probe", "training"])
def test_a_layer_that_never_fires_is_named_and_the_others_are_measured(mode):
    options = {"mode": mode, "samples": 32, "capture_every": 1} if mode == "training" else {"probe": (X, Y)}
    watch, said = watched(Bypassing(), layers=["first", "idle"], conditions="separability", **options)
    assert any("idle" in line and "never fired" in line for line in said)
    assert len(said) <= 2
    statuses = {layer: {row.status for row in watch.history if row.layer == layer} for layer in ("first", "idle")}
    assert statuses["idle"] == {"invalid"}
    assert "invalid" not in statuses["first"]


def test_a_probe_that_does_not_fit_is_named_when_it_is_attached(net):
    with pytest.warns(UserWarning, match=r"probe: inputs \(4,\) do not fit Sequential: RuntimeError: "):
        watch = ch.watch(net, (X[:, :4], Y), conditions=[Mean()], every=2)
    with pytest.warns(UserWarning, match="mean cannot be measured"), watch:
        steps(net, 4, watch)
    assert {row.status for row in watch.history} == {"invalid"}
    with pytest.raises(InputError, match=r"inputs \(4,\) do not fit"):
        ch.watch(net, (X[:, :4], Y), conditions=[Mean()], strict=True)


@pytest.mark.parametrize("condition", ["dropout-stability", "subnetwork", "memorization"])
def test_a_condition_that_runs_the_model_is_refused_in_training_mode(net, condition):
    watch, said = watched(net, mode="training", samples=32, capture_every=1, conditions=condition)
    assert len(said) == 1
    assert (
        f"{condition} cannot be measured: it runs the model on inputs, which mode='training' does not keep" in said[0]
    )
    assert {row.status for row in watch.history} == {"invalid"}


def test_a_condition_that_needs_targets_says_how_to_give_them(net):
    watch = ch.watch(net, mode="training", samples=32, capture_every=1, conditions="separability")
    with (
        pytest.warns(UserWarning, match=r"class labels: 32 of 32 rows came without targets; .*watch.step\(targets="),
        watch,
    ):
        steps(net, 2, watch)
    assert watch.verdicts[0].holds is None
    with ch.watch(net, mode="training", samples=32, capture_every=1, conditions="feature-rank", strict=True) as watch:
        steps(net, 2, watch)
    assert watch.verdicts[0].holds is not None


def test_targets_that_are_no_classes_are_not_asked_for_again(net):
    """An autoencoder's, say: what the condition needs is said."""
    watch = ch.watch(net, mode="training", samples=32, capture_every=1, conditions="separability")
    with pytest.warns(UserWarning, match=r"needs class labels \(N,\), found targets \(32, 3\) of float32"), watch:
        watch.step(targets=net(X[:32]).detach())
    assert "step(targets" not in watch.verdicts[0].reason


def test_targets_of_another_number_are_named_once(net):
    def train():
        with ch.watch(net, mode="training", capture_every=1, conditions=[Mean()], at_end=False) as watch:
            for _ in range(3):
                net(X[:5])
                watch.step(Y[:3])

    with pytest.warns(UserWarning, match="left out: 3 targets for 5 rows that passed") as said:
        train()
    assert len(said) == 1


def test_a_model_moved_into_another_type_is_followed(net):
    with ch.watch(net, (X, Y), conditions=[Mean()], every=1, strict=True) as watch:
        watch.step()
        net.double()
        watch.step()
    assert {row.step for row in watch.history} == {1, 2}


def test_epochs_that_never_end_and_steps_that_are_not_counted_are_named(net):
    _, said = watched(net, probe=(X, Y), every="1 epoch")
    assert said == [
        "watch: the schedule counts epochs and none ended; call watch.epoch() after every epoch; the training goes on"
    ]
    with pytest.warns(UserWarning, match="no step was counted"), ch.watch(net, (X, Y), conditions=[Mean()]):
        pass


def test_a_plugin_that_fails_when_it_is_told_spoils_nothing(net, monkeypatch):
    from connectivity_hooks.registry import registry

    def broken(**news):
        raise RuntimeError("a stranger's fault")

    monkeypatch.setattr(registry(), "hook", type("Hook", (), {"condition_checked": staticmethod(broken)}))
    watch, said = watched(net, probe=(X, Y))
    assert all("a plugin failed in condition_checked" in line for line in said)
    assert isinstance(watch.verdicts[0], Verdict)


@pytest.mark.filterwarnings("ignore:watch")
def test_a_probe_of_bytes_that_the_model_does_not_take_is_told_what_is_done_with_them(net):
    x = torch.zeros(8, 4, dtype=torch.uint8)
    with pytest.warns(UserWarning, match="uint8"), ch.watch(net, [(x, torch.zeros(8).long())], every=1) as watch:
        watch.step()
    assert "scaled and normalised as there" in watch.faults[0]
