"""Trainings of two processes in each host, watched: what each process does and asserts."""

import pathlib
import warnings

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from watched_training import Mean, data

import connectivity_hooks as ch

WATCHING = {"every": 2, "conditions": [Mean()], "strict": True}


def timm(rank, folder):
    from timm_training import loader, parts, train

    from connectivity_hooks_timm.training import watched_epochs

    task, optimizer = parts()
    task.prepare_distributed()
    options = {"layers": "layer?", "out": folder / "watch", **WATCHING}
    epochs = watched_epochs(range(2), task, optimizer, loader(folder / "images"), **options)
    train(epochs, task, optimizer, loader(folder / "images", is_training=True))


def lightning(rank, folder):
    from lightning_training import fit

    from connectivity_hooks_lightning import WatchCallback

    callback = WatchCallback(data(), network="net", out=folder / "watch", **WATCHING)
    fit(folder, callback, devices=2, strategy="ddp", accumulate_grad_batches=1)
    assert callback.watch.steps == 10


def transformers(rank, folder):
    from transformers_training import train

    from connectivity_hooks_transformers import WatchCallback

    callback = WatchCallback(out=folder / "watch", **WATCHING)
    train(folder, callback, gradient_accumulation_steps=1, save_strategy="no")
    assert callback.watch.steps == 8


def accelerate(rank, folder):
    from accelerate import Accelerator
    from watched_training import network

    accelerator = Accelerator(cpu=True)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    watch = ch.watch(model, data(), out=folder / "watch", **WATCHING)
    accelerator.register_for_checkpointing(watch)
    loader = DataLoader(TensorDataset(*data(80)), 8, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    assert accelerator.num_processes == 2
    with watch:
        for x, y in loader:
            accelerator.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
            watch.step()
    accelerator.save_state(str(folder / "state"))


def hosts(rank, folder, names):
    """Train in each host, one after the other."""
    warnings.simplefilter("ignore")
    for name in names:
        globals()[name](rank, pathlib.Path(folder) / name)
