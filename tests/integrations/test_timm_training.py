"""timm's training loop, watched by the two lines that go into its train.py."""

import json

import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import convert, fit, read
from connectivity_hooks.errors import InputError, UsageError

pytest.importorskip("timm.task", reason="needs a timm whose train.py has training tasks")

import timm
from timm.utils import ModelEmaV3, random_seed
from timm_training import images, loader, parts, train

from connectivity_hooks_timm.training import watched_epochs

LAYERS = ["layer1", "layer4"]
LISTENING = {"probe": None, "mode": "training", "samples": 16, "capture_every": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def run(folder, tmp_path):
    """Return a function that trains, watched or not, and returns all weights and the steps found in the history."""

    def run(*, epochs=range(2), watching=None, ema=False, optimizer="sgd", compiled=False, accumulate=1):
        torch.compiler.reset()  # what was compiled for a twin without hooks would be taken for this one
        task, steps = parts(ema=ema, optimizer=optimizer, compiled=compiled)
        batches = loader(folder, is_training=True)
        if watching is not None:
            watching = {"every": 2, "layers": LAYERS, "out": tmp_path, "probe": loader(folder), **watching}
            epochs = watched_epochs(epochs, task, steps, **watching)
        with torch.random.fork_rng():
            random_seed(1)
            weights = train(epochs, task, steps, batches, accumulate=accumulate)
        assert not hooks(task, steps)
        return weights, steps_found(tmp_path)

    return run


def hooks(task, optimizer):
    found = [hook for module in task.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]
    return found + list(optimizer._optimizer_step_post_hooks)


def steps_found(folder):
    rows = ch.watching.read_history(folder)
    assert len({(row.step, row.layer) for row in rows}) == len(rows)
    assert all(row.status != "invalid" for row in rows)
    return sorted({row.step for row in rows})


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, [2, 4, 6, 8]),
        ({"accumulate": 3}, [2, 4]),
        ({"optimizer": "lookahead_sgd"}, [2, 4, 6, 8]),
        ({"ema": True, "watching": {"ema": True}}, [2, 4, 6, 8]),
        ({"ema": True, "watching": {"averages": True, "correct": "batch-norm"}}, [2, 4, 6, 8]),
        ({"watching": LISTENING}, [2, 4, 6, 8]),
        ({"watching": LISTENING, "compiled": True}, [2, 4, 6, 8]),
    ],
    ids=["plain", "accumulated", "lookahead", "ema", "averages", "training-mode", "training-mode-compiled"],
)
def test_the_training_ends_at_the_same_weights_and_optimizer_steps_are_counted(run, options, found):
    plain, _ = run(**{**options, "watching": None})
    watched, steps = run(**{"watching": {}, **options})
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert steps == found


def test_a_resumed_training_goes_on_counting(run, tmp_path):
    _, whole = run(watching={})
    first = [row.status for row in ch.watching.read_history(tmp_path)]
    _, resumed = run(epochs=range(1, 2), watching={})
    assert resumed == whole
    assert len(ch.watching.read_history(tmp_path)) == len(first)
    assert json.loads((tmp_path / "watch.json").read_text())["2"]["epoch"] == 2


def test_a_new_training_does_not_go_on_from_an_old_one(run, tmp_path):
    run(watching={})
    run(watching={})
    assert (tmp_path / "history.before-1.jsonl").exists()
    assert json.loads((tmp_path / "watch.json").read_text())["2"]["step"] == 8


def test_an_interrupted_loop_leaves_no_hooks_and_a_summary(folder, tmp_path):
    task, optimizer = parts()
    epochs = watched_epochs(range(2), task, optimizer, loader(folder), every=2, layers=LAYERS, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(epochs, task, optimizer, loader(folder, is_training=True), fail_at=1)
    del epochs
    assert not hooks(task, optimizer)
    assert (tmp_path / "summary.txt").exists()


def test_a_model_alone_does_for_scripts_without_a_task(folder, tmp_path):
    task, optimizer = parts()
    model = torch.compile(task.get_trainable_module(), backend="eager")
    for _ in watched_epochs(range(1), model, optimizer, loader(folder), every=1, layers=LAYERS, out=tmp_path):
        optimizer.step()
    assert {row.layer for row in ch.watching.read_history(tmp_path)} == set(LAYERS)


def test_probe_samples_are_of_all_classes_and_normalised_as_validation_is(folder):
    from connectivity_hooks_timm.probe import held_by_cpu

    validation = loader(folder)
    drawn = list(held_by_cpu(validation, 9, 0))
    assert set(torch.cat([labels for _, labels in drawn]).tolist()) == {0, 1, 2}
    everything = torch.cat([inputs for inputs, _ in validation])
    for inputs in torch.cat([inputs for inputs, _ in drawn]):
        assert (everything == inputs).flatten(1).all(1).any()


def test_an_average_that_is_not_there_is_refused(folder):
    task, optimizer = parts()
    with pytest.raises(UsageError, match=r"ema=True, and ClassificationTask holds no average.*--model-ema"):
        next(watched_epochs(range(1), task, optimizer, loader(folder), ema=True))
    assert not hooks(task, optimizer)


@pytest.mark.parametrize(
    "text",
    [
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"x": {}}',
        b'{"1": 3}',
        b'{"1": {"format": "connectivity_hooks.watch/1", "step": "2"}}',
        b"",
    ],
)
def test_a_strange_watch_json_is_refused(folder, tmp_path, text):
    (tmp_path / "watch.json").write_bytes(text)
    task, optimizer = parts()
    with pytest.raises(InputError, match=r"watch\.json: expected the states of a watch by epoch.*remove it"):
        next(watched_epochs(range(1, 2), task, optimizer, loader(folder), out=tmp_path))


def test_a_file_with_timms_average_names_both_sets_and_key_takes_either(tmp_path):
    model = timm.create_model("resnet10t", num_classes=3)
    average = ModelEmaV3(model, decay=0.5)
    with torch.no_grad():
        model.fc.weight.add_(1)
    average.update(model)
    torch.save({"model": model.state_dict(), "model_ema": average.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"model \(trained\), model_ema \(averaged\); say which with --key"):
        convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    for key, kept in (("model", model), ("model_ema", average.module)):
        convert(tmp_path / "x.pth", tmp_path / "x.safetensors", key=key)
        found = fit(read(tmp_path / "x.safetensors"), model).weights
        assert all(torch.equal(found[name], tensor) for name, tensor in kept.state_dict().items())
