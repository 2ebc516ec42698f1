"""The callback in a real Trainer of Transformers."""

import json

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from watched_training import Mean, data

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read

pytest.importorskip("transformers", reason="needs transformers: pip install 'connectivity-hooks[transformers]'")
pytest.importorskip("accelerate", reason="Transformers' Trainer needs accelerate")

from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    WhisperConfig,
    WhisperForConditionalGeneration,
    default_data_collator,
)
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


class Averaging(TrainerCallback):
    """Keeps an average of the weights after every step."""

    average = None

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.average.update_parameters(model)


@pytest.mark.filterwarnings("ignore:watch. average. .*too few samples")
def test_an_average_is_compared_with_the_trained_weights(tmp_path, plain):
    keeping = Averaging()
    training = trainer(tmp_path, keeping)
    keeping.average = AveragedModel(training.model)
    callback = watching(tmp_path, averages={"swa": keeping.average})
    training.add_callback(callback)
    training.train()
    assert_same(plain, training.model)
    found = [row for row in callback.watch.history if row.condition == "average"]
    assert [(row.step, row.layer) for row in found] == [(2, "swa"), (4, "swa"), (6, "swa"), (8, "swa")]
    assert all(row.measured is not None for row in found)
    assert not callback.watch.faults


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


BEST = {
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss",
    "greater_is_better": True,  # the first one, which has learnt least, so that the last is not the best
}


@pytest.mark.parametrize("stopping", [False, True], ids=["all-steps", "stopped-early"])
@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_the_last_step_is_seen_and_saved_before_the_best_weights_are_loaded(tmp_path, strategy, stopping):
    callback = watching(tmp_path, every=100, save=tmp_path / "saved", probe=Sentences())
    others = [EarlyStoppingCallback(1)] if stopping else []
    options = {**BEST, "eval_strategy": strategy, "save_strategy": strategy, "save_steps": 3, "eval_steps": 3}
    training = trainer(tmp_path, callback, *others, num_train_epochs=4, **options)
    training.train()
    last, saved = training.state.global_step, read_folder(tmp_path / "saved")
    assert [step for step, *_ in history(tmp_path)] == [last] * len(LAYERS)
    assert list(saved) == [last]
    assert not all(torch.equal(saved[last][name], tensor) for name, tensor in training.model.state_dict().items())
    assert last == (8 if strategy == "epoch" else 6) if stopping else last == 16
    if (tmp_path / f"checkpoint-{last}").exists():
        written = read(tmp_path / f"checkpoint-{last}" / "model.safetensors").weights
        assert all(torch.equal(saved[last][name], tensor) for name, tensor in written.items())
    else:
        assert strategy == "steps"
        assert not stopping


def read_folder(folder):
    return {int(file.stem.removeprefix("step_")): read(file).weights for file in sorted(folder.iterdir())}


def test_where_the_last_step_has_gone_unseen_no_other_is_shown_for_it(tmp_path):
    class Stopping(TrainerCallback):
        """Ends the training in a way that no other callback is told of."""

        def on_epoch_end(self, args, state, control, **kwargs):
            control.should_training_stop = True

    options = {**BEST, "eval_strategy": "steps", "save_strategy": "steps", "save_steps": 3, "eval_steps": 3}
    callback = watching(tmp_path, every=3)
    training = trainer(tmp_path, callback, Stopping(), **options)
    with pytest.warns(UserWarning, match="step 4, the last, is not checked: its weights were exchanged"):
        training.train()
    assert sorted({step for step, *_ in history(tmp_path)}) == [3]


@pytest.mark.parametrize(
    "damage", ["text", {"attributes": [1]}, {"attributes": {"format": "connectivity_hooks.watch/1", "step": "x"}}]
)
def test_a_damaged_state_in_a_checkpoint_is_one_warning_and_the_counts_go_on(tmp_path, damage):
    train(tmp_path, watching(tmp_path), num_train_epochs=1)
    file = tmp_path / "checkpoint-4" / "trainer_state.json"
    state = json.loads(file.read_text())
    state["stateful_callbacks"]["connectivity_hooks.watch"] = damage
    file.write_text(json.dumps(state))
    callback = watching(tmp_path)
    with pytest.warns(UserWarning, match="what the checkpoint holds of the watch cannot be used") as said:
        train(tmp_path, callback, checkpoint=tmp_path / "checkpoint-4")
    assert len([each for each in said if "watch:" in str(each.message)]) == 1
    assert (callback.watch.steps, callback.watch.epochs) == (8, 2)
    assert sorted({step for step, *_ in history(tmp_path)}) == [2, 4, 6, 8]


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


def t5():
    size = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    return T5ForConditionalGeneration(T5Config(decoder_start_token_id=0, **size)), {
        "input_ids": torch.randint(0, 50, (24, 7)),
        "labels": torch.randint(0, 50, (24, 5)),
    }


def whisper():
    layers = dict.fromkeys(
        ["encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"], 2
    )
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    size = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_source_positions": 20, "max_target_positions": 20}
    config = WhisperConfig(vocab_size=50, d_model=16, num_mel_bins=8, **layers, **size, **tokens)
    return WhisperForConditionalGeneration(config), {
        "input_features": torch.randn(24, 8, 40),
        "labels": torch.randint(0, 50, (24, 5)),
    }


class Rows(torch.utils.data.Dataset):
    """A data set of given samples."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


PROBES = {
    "training set": lambda rows, batch: None,
    "data set": lambda rows, batch: Rows(rows),
    "loader": lambda rows, batch: DataLoader(rows, 8, collate_fn=default_data_collator),
    "batches": lambda rows, batch: [batch],
}


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("made", [t5, whisper])
def test_a_model_that_makes_decoder_inputs_of_its_labels_has_them_and_every_block_is_measured(tmp_path, made, kind):
    with torch.random.fork_rng():
        model, batch = made()
    rows = [{name: tensor[row] for name, tensor in batch.items()} for row in range(24)]
    options = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_steps": 2}
    callback = WatchCallback(PROBES[kind](rows, batch), every=2, conditions=[Mean()], strict=True)
    Trainer(model, TrainingArguments(str(tmp_path), **options), train_dataset=rows, callbacks=[callback]).train()
    assert {verdict.layer for verdict in callback.watch.verdicts} == set(block_layers(model))
    assert len(block_layers(model)) >= 4
    assert all(verdict.holds is not None for verdict in callback.watch.verdicts)


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
