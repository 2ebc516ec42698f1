"""Accelerate needs no package of ours: `watch` before `prepare`, and registered for checkpointing."""

import pytest
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset
from watched_training import data, network

import connectivity_hooks as ch

accelerate = pytest.importorskip("accelerate", reason="needs accelerate: pip install 'connectivity-hooks[accelerate]'")


@pytest.fixture(autouse=True)
def fresh():
    """Let each test choose its precision: Accelerate keeps one for the whole process."""
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def train(folder, *, watched, precision="no", resume=None):
    """Train 2 epochs of 10 batches, two of them accumulated; save the state after each, or go on from one."""
    torch.manual_seed(0)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2, mixed_precision=precision)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    loader = DataLoader(TensorDataset(*data(80)), 8, shuffle=True)
    if watched:
        watch = ch.watch(model, data(), every=2, out=folder / "watch", log=accelerator)
        accelerator.register_for_checkpointing(watch)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    if resume is not None:
        accelerator.load_state(str(folder / f"state-{resume}"))
    for epoch in range(0 if resume is None else resume + 1, 2):
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward(F.cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()
            if watched and accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                watch.step()
        if watched:
            watch.epoch()
        accelerator.save_state(str(folder / f"state-{epoch}"))
    if watched:
        watch.close()
        assert not watch.faults
    return accelerator.unwrap_model(model).state_dict()


@pytest.mark.filterwarnings("ignore:watch. averages=. Sequential has running")
@pytest.mark.filterwarnings("ignore:watch. average. .*too few samples")
def test_an_average_is_compared_with_the_trained_weights(tmp_path):
    torch.manual_seed(0)
    accelerator = accelerate.Accelerator(cpu=True)
    model = network()
    average = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    watch = ch.watch(model, data(), every=2, averages={"swa": average}, conditions=[], out=tmp_path)
    model, optimizer = accelerator.prepare(model, optimizer)
    x, y = data(80)
    with watch:
        for _ in range(4):
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            average.update_parameters(accelerator.unwrap_model(model))
            watch.step()
    assert [(row.step, row.layer) for row in watch.history] == [(2, "swa"), (4, "swa")]
    assert not watch.faults


def history(folder):
    return [(row.step, row.epoch, row.layer, row.status) for row in ch.watching.read_history(folder / "watch")]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_training_ends_at_the_same_weights_and_optimizer_steps_are_counted(tmp_path, precision):
    plain = train(tmp_path, watched=False, precision=precision)
    watched = train(tmp_path, watched=True, precision=precision)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert sorted({step for step, *_ in history(tmp_path)}) == [2, 4, 6, 8, 10]


def test_a_resumed_training_goes_on_counting(tmp_path):
    """Up to PyTorch 2.6 at least, Accelerate itself draws other batches after resuming, watched or not."""
    ends = []
    for watched in (False, True):
        folder = tmp_path / str(watched)
        train(folder, watched=watched)
        whole = history(folder) if watched else None
        ends.append(train(folder, watched=watched, resume=0))
    assert history(folder) == whole
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
