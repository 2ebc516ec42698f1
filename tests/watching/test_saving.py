import json

import pytest
import torch
from watched_training import Mean, data, steps

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read
from connectivity_hooks.contracts import Condition, Verdict

PROBE = data()


class Turning(Condition):
    """Holds at the checks it is told to."""

    name = "turning"
    answers = ()

    def check(self, observation):
        """Yield the next answer."""
        holds, *self.answers = self.answers
        yield Verdict(self.name, None, holds, float(holds), 1.0, "truth")


def turning(*answers):
    condition = Turning()
    condition.answers = answers
    return condition


def saved(folder):
    return [int(file.stem.removeprefix("step_")) for file in sorted(folder.iterdir())]


def test_at_every_check_the_weights_of_that_step(net, tmp_path, task):
    weights = {}
    with ch.watch(net, task, conditions=[Mean()], every=2, save=tmp_path / "a" / "b", strict=True) as watch:
        for _ in range(2):
            steps(net, 2, watch)
            weights[watch.steps] = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert saved(tmp_path / "a" / "b") == [2, 4]
    for step, expected in weights.items():
        found = read(tmp_path / "a" / "b" / f"step_{step:08d}.safetensors")
        assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.items())
        about = json.loads(found.metadata["connectivity_hooks.watch"])
        assert (about["step"], about["weights"]) == (step, "model")
        assert [layer for _, layer, _, _ in about["verdicts"]] == ["2", "5"]
        assert found.metadata["connectivity_hooks.task"] == "net.py:make"


def test_when_a_verdict_changes(net, tmp_path):
    condition = turning(False, False, True, True, False)
    with ch.watch(net, PROBE, conditions=[condition], every=1, save=tmp_path, on_change="save", strict=True) as watch:
        for _ in range(5):
            watch.step()
    assert saved(tmp_path) == [3, 5]


def test_a_change_over_an_interruption_is_a_change(net, tmp_path):
    options = {"every": 1, "save": tmp_path, "on_change": "save", "strict": True}
    first = ch.watch(net, PROBE, conditions=[turning(False)], **options)
    first.step()
    again = ch.watch(net, PROBE, conditions=[turning(True)], **options)
    again.load_state_dict(first.state_dict())
    again.step()
    assert saved(tmp_path) == [2]


def test_on_a_schedule_of_its_own(net, tmp_path):
    with ch.watch(net, PROBE, conditions=[Mean()], every=4, save=tmp_path, save_every=3, strict=True) as watch:
        for _ in range(9):
            watch.step()
    assert saved(tmp_path) == [3, 6, 9]


def test_on_a_schedule_and_when_a_verdict_changes(net, tmp_path):
    condition = turning(False, False, True, True)
    options = {"save": tmp_path, "save_every": "1 epoch", "on_change": "save"}
    with ch.watch(net, PROBE, conditions=[condition], every=1, strict=True, **options) as watch:
        for _ in range(2):
            watch.step()
        watch.epoch()
        for _ in range(2):
            watch.step()
    assert saved(tmp_path) == [2, 3]


def test_a_check_at_the_end_is_saved_like_any_other(net, tmp_path):
    with ch.watch(net, PROBE, conditions=[Mean()], every=2, save=tmp_path, strict=True) as watch:
        for _ in range(3):
            watch.step()
    assert saved(tmp_path) == [2, 3]


def test_a_checkpoint_that_cannot_be_written_is_named_and_the_training_goes_on(net, tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.warns(UserWarning, match="a checkpoint was not saved: .*choose another save="),
        ch.watch(net, PROBE, conditions=[Mean()], every=1, save=tmp_path / "file") as watch,
    ):
        watch.step()
    assert len(watch.history) == 2
