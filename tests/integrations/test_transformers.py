"""The callback in a real Trainer of Transformers."""

import pytest
import torch
from torch import nn
from watched_training import Mean, data

import connectivity_hooks as ch

pytest.importorskip("transformers", reason="needs transformers: pip install 'connectivity-hooks[transformers]'")
pytest.importorskip("accelerate", reason="Transformers' Trainer needs accelerate")

from transformers import TrainerCallback
from transformers_training import BLOCKS, Sentences, network, train, trainer

from connectivity_hooks_transformers import WatchCallback
from connectivity_hooks_transformers.layers import block_layers

LAYERS = (*BLOCKS, "classifier:input")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return the weights of a training that was not watched."""
    return train(tmp_path_factory.mktemp("plain")).state_dict()


def watching(folder, **options):
    return WatchCallback(**{"every": 2, "conditions": [Mean()], "out": folder / "watch", **options})


def history(folder):
    return [(row.step, row.epoch, row.layer, row.status) for row in ch.watching.read_history(folder / "watch")]


def assert_same(weights, model):
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_the_training_ends_at_the_same_weights_and_optimizer_steps_are_counted(tmp_path, plain):
    callback = watching(tmp_path, conditions="separability", at_start=True)
    assert_same(plain, train(tmp_path, callback))
    found = [(step, layer) for step, _, layer, _ in history(tmp_path)]
    assert found == [(step, layer) for step in (0, 2, 4, 6, 8) for layer in LAYERS]
    assert (callback.watch.steps, callback.watch.epochs, callback.watch.faults) == (8, 2, ())


def test_the_models_own_passes_are_heard_with_their_labels(tmp_path, plain):
    callback = watching(tmp_path, conditions="separability", mode="training", samples=16, capture_every=1)
    model = train(tmp_path, callback)
    assert_same(plain, model)
    assert [step for step, _, layer, status in history(tmp_path) if status != "invalid"] == sorted([2, 4, 6, 8] * 3)
    assert not any((*module._forward_hooks, *module._forward_pre_hooks) for module in model.modules())


def test_a_resumed_training_goes_on_counting(tmp_path, plain):
    train(tmp_path, watching(tmp_path))
    whole = history(tmp_path)
    callback = watching(tmp_path, at_start=True)
    assert_same(plain, train(tmp_path, callback, checkpoint=tmp_path / "checkpoint-4"))
    assert history(tmp_path) == whole
    elapsed = [row.elapsed for row in callback.watch.history]
    assert elapsed == sorted(elapsed)


def test_a_checkpoint_of_an_unwatched_training_gives_the_counts_too(tmp_path):
    train(tmp_path, num_train_epochs=1)
    callback = watching(tmp_path)
    train(tmp_path, callback, checkpoint=tmp_path / "checkpoint-4")
    assert sorted({step for step, *_ in history(tmp_path)}) == [6, 8]
    assert (callback.watch.steps, callback.watch.epochs) == (8, 2)


def test_figures_given_to_the_trainers_log_do_not_displace_its_own(tmp_path):
    callback = watching(tmp_path, log=lambda values, step: training.log(values))
    training = trainer(tmp_path, callback, save_strategy="no")
    training.train()
    told = {
        name: [e["step"] for e in training.state.log_history if name in e] for name in ("loss", f"mean/{BLOCKS[0]}")
    }
    assert told == {"loss": [2, 4, 6, 8], f"mean/{BLOCKS[0]}": [2, 4, 6, 8]}


def test_a_data_set_as_probe_comes_through_the_trainers_collator(tmp_path):
    callback = watching(tmp_path, probe=Sentences(), samples=10)
    train(tmp_path, callback, num_train_epochs=1, save_strategy="no")
    assert not callback.watch.faults
    (first, *_) = (tmp_path / "watch" / "history.jsonl").read_text().splitlines()
    assert '"rows": 10' in first


class Failing(TrainerCallback):
    """Breaks down after three steps."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise RuntimeError("broken")


def test_after_an_exception_hooks_can_be_taken_off(tmp_path):
    callback = watching(tmp_path, mode="training", samples=16, capture_every=1)
    training = trainer(tmp_path, callback, Failing(), save_strategy="no")
    with pytest.raises(RuntimeError, match="broken"):
        training.train()
    callback.remove()
    assert not any((*m._forward_hooks, *m._forward_pre_hooks) for m in training.model.modules())
    assert (tmp_path / "watch" / "summary.txt").exists()


def test_blocks_and_what_enters_the_head_are_looked_at():
    assert block_layers(network()) == LAYERS
    nested = nn.Sequential(nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)]), nn.Linear(2, 2)]))
    assert block_layers(nested) == ("0.0", "0.1")
    assert block_layers(nn.Sequential(nn.Linear(2, 2))) is None


def test_a_misspelt_argument_is_refused_before_any_training():
    with pytest.raises(TypeError, match="evry"):
        WatchCallback(data(), evry=2)


def test_the_data_of_the_training_are_found_where_the_trainer_leaves_them(tmp_path):
    """Transformers 4.49 gives callbacks no loader; its state holds it."""
    one = trainer(tmp_path, watching(tmp_path, at_start=True))
    callback = next(callback for callback in one.callback_handler.callbacks if isinstance(callback, WatchCallback))
    one.state.train_dataloader = one.get_train_dataloader()
    callback.on_train_begin(one.args, one.state, one.control, model=one.model, train_dataloader=None)
    callback.remove()
    assert {(step, status) for step, _, _, status in history(tmp_path)} <= {(0, "holds"), (0, "fails")}
    assert history(tmp_path)
