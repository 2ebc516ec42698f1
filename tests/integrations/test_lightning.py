"""The callback in a real Trainer of Lightning."""

import csv
import json
import shutil

import pytest
import torch
from watched_training import Mean, data, network

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import fit as fit_weights
from connectivity_hooks.checkpoints import read
from connectivity_hooks.checkpoints.pickles import convert
from connectivity_hooks.errors import InputError, UsageError

pytest.importorskip("lightning.pytorch", reason="needs lightning: pip install 'connectivity-hooks[lightning]'")

from lightning.pytorch import Callback, callbacks
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging
from lightning_training import Module, TwoOptimizers, fit

from connectivity_hooks_lightning import WatchCallback

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|logging interval|exists and is not empty|LeafSpec).*"
)


def watching(folder, **options):
    return WatchCallback(**{"probe": data(), "network": "net", "every": 2, "out": folder / "watch", **options})


def steps_found(folder):
    rows = ch.watching.read_history(folder / "watch")
    assert len({(row.step, row.layer) for row in rows}) == len(rows)
    return sorted({row.step for row in rows})


def assert_same(first, second):
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "options", "found"),
    [
        (Module, {}, [2, 4, 6, 8, 10]),
        (Module, {"accumulate_grad_batches": 1}, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (TwoOptimizers, {"accumulate_grad_batches": 1, "epochs": 1}, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
    ],
    ids=["accumulated", "plain", "two-optimizers"],
)
def test_the_training_ends_at_the_same_weights_and_optimizer_steps_are_counted(tmp_path, kind, options, found):
    plain, _ = fit(tmp_path / "plain", kind=kind, **options)
    callback = watching(tmp_path)
    watched, trainer = fit(tmp_path / "watched", callback, kind=kind, **options)
    assert_same(plain, watched)
    assert steps_found(tmp_path) == found
    assert callback.watch.steps == trainer.global_step
    assert not callback.watch.faults


def test_the_modules_own_passes_are_heard_with_their_targets(tmp_path):
    plain, _ = fit(tmp_path / "plain")
    callback = watching(tmp_path, probe=None, mode="training", samples=16, capture_every=1)
    watched, _ = fit(tmp_path / "watched", callback)
    assert_same(plain, watched)
    assert steps_found(tmp_path) == [2, 4, 6, 8, 10]
    assert not callback.watch.faults
    assert not any(module._forward_hooks for module in watched.modules())


def test_a_resumed_training_goes_on_counting(tmp_path):
    fit(tmp_path, watching(tmp_path))
    whole = [(row.step, row.epoch, row.layer, row.status) for row in ch.watching.read_history(tmp_path / "watch")]
    callback = watching(tmp_path)
    fit(tmp_path / "again", callback, checkpoint=tmp_path / "checkpoints" / "epoch=0.ckpt")
    rows = ch.watching.read_history(tmp_path / "watch")
    assert [(row.step, row.epoch, row.layer, row.status) for row in rows] == whole
    elapsed = [row.elapsed for row in rows]
    assert elapsed == sorted(elapsed)


def test_a_checkpoint_of_an_unwatched_training_gives_the_counts_too(tmp_path):
    fit(tmp_path)
    callback = watching(tmp_path)
    fit(tmp_path / "again", callback, checkpoint=tmp_path / "checkpoints" / "epoch=0.ckpt")
    assert steps_found(tmp_path) == [6, 8, 10]
    assert (callback.watch.steps, callback.watch.epochs) == (10, 2)


def test_a_second_fit_of_one_callback_begins_anew(tmp_path):
    callback = watching(tmp_path)
    fit(tmp_path / "one", callback)
    fit(tmp_path / "two", callback)
    assert callback.watch.steps == 10
    assert (tmp_path / "watch" / "history.before-1.jsonl").exists()


def test_figures_reach_every_logger_at_every_check_and_the_callback_metrics(tmp_path):
    told = []
    callback = watching(tmp_path, conditions=[Mean()], at_start=True, log=lambda values, step: told.append(step))
    _, trainer = fit(tmp_path, callback, log_every_n_steps=50)
    with open(tmp_path / "lightning_logs" / "version_0" / "metrics.csv", newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["mean/2"]]
    assert [int(row["step"]) for row in logged] == told == [0, 2, 4, 6, 8, 10]
    assert "mean/2" in trainer.callback_metrics


class Failing(Module):
    """Breaks down in its fourth batch."""

    def on_train_batch_start(self, batch, index):
        if index == 4:
            raise RuntimeError("broken")


def test_an_exception_takes_the_hooks_off_and_leaves_a_summary(tmp_path):
    callback = watching(tmp_path, probe=None, mode="training", samples=16, capture_every=1)
    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path, callback, kind=Failing)
    assert steps_found(tmp_path) == [2]
    assert (tmp_path / "watch" / "summary.txt").exists()
    assert callback.watch.step() is None
    assert steps_found(tmp_path) == [2]


class Averaged(Module):
    """Keeps an average of its network's weights."""

    def __init__(self):
        super().__init__()
        self.average = torch.optim.swa_utils.AveragedModel(self.net)

    def on_train_batch_end(self, outputs, batch, index):
        self.average.update_parameters(self.net)


def test_an_average_is_watched_when_named(tmp_path):
    callback = watching(tmp_path, ema="average", save=tmp_path / "saved")
    module, _ = fit(tmp_path, callback, kind=Averaged)
    assert {row.weights for row in callback.watch.history} == {"ema"}
    saved = read(tmp_path / "saved" / "step_00000002.safetensors").weights
    assert saved.keys() == module.net.state_dict().keys()


class Exchanging(Callback):
    """Puts other weights in place when the training ends, as averages do."""

    def on_train_end(self, trainer, module):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()


class Remembering(Callback):
    """Remembers the weights after the last batch that brought a step; SWA passes the data once more after it."""

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.current_epoch < 3 and trainer.global_step > getattr(self, "step", 0):
            self.step = trainer.global_step
            self.weights = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}


def averages():
    """Return callbacks that exchange the weights for others at the end, by name."""
    found = {
        "at the end": lambda: Exchanging(),
        "swa": lambda: StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1),
    }
    if hasattr(callbacks, "EMAWeightAveraging"):  # Lightning 2.6
        found["ema"] = lambda: callbacks.EMAWeightAveraging(decay=0.5)
    return found


@pytest.mark.filterwarnings("ignore:.*(Swapping scheduler|lr_scheduler).*")
@pytest.mark.parametrize("stopped", [False, True], ids=["all-epochs", "stopped-early"])
@pytest.mark.parametrize("normed", [True, False], ids=["batch-norm", "no-norm"])
@pytest.mark.parametrize("kind", averages())
def test_the_last_step_is_seen_and_saved_before_an_average_takes_its_place(tmp_path, kind, normed, stopped):
    class Plain(Module):
        def __init__(self):
            super().__init__()
            if not normed:
                self.net[1] = torch.nn.Identity()

    watched, remembered = watching(tmp_path, every=100, save=tmp_path / "saved", conditions=[Mean()]), Remembering()
    others = [averages()[kind](), remembered]
    if stopped:
        others.append(EarlyStopping("loss", patience=0, mode="max"))
    module, _ = fit(tmp_path, *others, watched, kind=Plain, epochs=3)
    last = remembered.step
    assert steps_found(tmp_path) == [last]
    (file,) = (tmp_path / "saved").iterdir()
    saved = read(file).weights
    assert file.name == f"step_{last:08d}.safetensors"
    trained = {name for name, _ in module.net.named_parameters()}
    assert all(torch.equal(saved[name], tensor) for name, tensor in remembered.weights.items() if name in trained)
    assert last == 15 or stopped
    assert watched.watch.epochs >= last // 5
    if kind != "swa" or not stopped:  # an average is put in place
        assert not all(torch.equal(saved[name], module.net.state_dict()[name]) for name in trained)
    seen = network() if normed else Plain().net
    seen.load_state_dict(saved)
    (row,) = [row for row in watched.watch.history if row.layer == "2"]
    with torch.no_grad():
        assert row.measured == pytest.approx(float(seen.eval()[:3](data()[0]).mean()), rel=1e-4, abs=1e-6)


def test_a_name_that_is_no_module_is_refused_with_near_matches(tmp_path):
    with pytest.raises(UsageError, match="no module 'nett' in Module; did you mean 'net'"):
        fit(tmp_path, watching(tmp_path, network="nett"))


def test_a_misspelt_argument_is_refused_before_any_fit():
    with pytest.raises(TypeError, match="evry"):
        WatchCallback(data(), evry=2)


def test_checkpoints_of_lightning_and_of_the_watch_fit_the_plain_network(tmp_path):
    module, _ = fit(tmp_path, watching(tmp_path, network=None, layers="net.2", save=tmp_path / "saved"))
    convert(tmp_path / "checkpoints" / "epoch=1.ckpt", tmp_path / "converted.safetensors")
    for file in (tmp_path / "converted.safetensors", *(tmp_path / "saved").glob("step_00000010*")):
        fitted = fit_weights(read(file), network())
        assert any("the prefix net. was stripped" in note for note in fitted.notes), fitted.notes
        assert all(torch.equal(fitted.weights[name], tensor) for name, tensor in module.net.state_dict().items())
    shutil.rmtree(tmp_path / "saved")


QUIET = pytest.mark.filterwarnings(
    "ignore:watch. averages=. (Sequential|Whole) has running", "ignore:watch. average. .*too few samples"
)
AVERAGING = pytest.mark.skipif(not hasattr(callbacks, "WeightAveraging"), reason="needs lightning 2.6")


@QUIET
@AVERAGING
@pytest.mark.parametrize("network", ["net", None], ids=["part", "whole"])
def test_averages_that_lightnings_callbacks_keep_are_compared_with_the_trained_weights(tmp_path, network):
    class Whole(Module):
        def forward(self, x):
            return self.net(x)

    def averaging():
        return [callbacks.EMAWeightAveraging(decay=0.5), callbacks.WeightAveraging()]

    plain, _ = fit(tmp_path / "plain", *averaging(), kind=Whole)
    remembered = Remembering()
    callback = watching(tmp_path, network=network, averages=True, conditions=[Mean()])
    watched, _ = fit(tmp_path / "watched", *averaging(), remembered, callback, kind=Whole)
    assert_same(plain, watched)
    assert not callback.watch.faults
    rows = [row for row in callback.watch.history if row.condition == "average"]
    assert {row.layer for row in rows} == {"EMAWeightAveraging", "WeightAveraging"}
    assert sorted({row.step for row in rows}) == [2, 4, 6, 8, 10]
    last = [json.loads(line)["details"] for line in (tmp_path / "watch" / "history.jsonl").read_text().splitlines()][-1]
    norm = sum(float(remembered.weights[name].double().square().sum()) for name, _ in watched.net.named_parameters())
    assert last["norm_trained"] == pytest.approx(norm**0.5)  # the trained weights, not the average put in their place
    assert last["distance"] > 0


def test_averages_are_refused_where_no_callback_keeps_one(tmp_path):
    with pytest.raises(UsageError, match="averages=True takes what WeightAveraging callbacks"):
        fit(tmp_path, watching(tmp_path, averages=True))


@AVERAGING
def test_a_checkpoint_with_an_average_holds_two_sets_and_key_takes_either(tmp_path):
    module, _ = fit(tmp_path, callbacks.EMAWeightAveraging(decay=0.9))
    source, target = tmp_path / "checkpoints" / "epoch=1.ckpt", tmp_path / "x.safetensors"
    with pytest.raises(InputError, match=r"state_dict \(averaged\), current_model_state \(trained\).*--key.*both ends"):
        convert(source, target)
    assert not target.exists()
    found = {}
    for key in ("state_dict", "current_model_state"):
        convert(source, target, key=key)
        found[key] = fit_weights(read(target), network()).weights
    # at its end the training puts the average in place of the trained weights
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in module.net.state_dict().items())
    assert any(
        not torch.equal(found["state_dict"][name], found["current_model_state"][name]) for name in found["state_dict"]
    )
