"""Networks of many kinds, each in a file of tests/kinds/files as its user writes it, and a short training of two."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import timm
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.cli.connect import command as connect_command
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group
from connectivity_hooks.tasks import Task

FILES = pathlib.Path(__file__).parent.parent / "kinds" / "files"
FLAGS = {
    "autoencoder": {"loss": "mse"},
    "binary": {"loss": "bce"},
    "cnn": {},
    "dataclass_outputs": {},
    "frozen": {},
    "graph": {},
    "lraspp": {},
    "lstm": {},
    "mlp": {},
    "multilabel": {"loss": "bce"},
    "named_inputs": {},
    "named_outputs": {"output": "kind"},
    "points": {},
    "regressor": {"loss": "mse"},
    "segmentation": {"output": "out"},
    "series": {"loss": "mse"},
    "timm_model": {},
    "two_outputs": {"output": "0"},
    "unet": {"loss": "mse"},
    "vae": {"loss": "mse", "output": "0"},
}
"""What a user says of each kind beside the file, on the command line and in Python."""

TIMM = "timm:vit_tiny_patch16_224?img_size=32&num_classes=4&embed_dim=24&depth=2"


def words_of(kind: str) -> list[str]:
    """Return the words of a command that tell of the model and its data, in a folder with the kind's file."""
    model = TIMM if kind == "timm_model" else f"{kind}.py:make"
    flags = [word for name, value in FLAGS[kind].items() for word in (f"--{name}", value)]
    return ["--model", model, "--data", f"{kind}.py:data", *flags]


def loaded(kind: str) -> ModuleType:
    """Return the file of a kind, imported."""
    spec = importlib.util.spec_from_file_location(f"kind_{kind}", FILES / f"{kind}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def made(kind: str, seed: int) -> nn.Module:
    """Return a network of a kind with the weights of a seed; a frozen backbone is the same for all."""
    torch.manual_seed(0 if kind == "frozen" else seed)
    if kind == "timm_model":
        return timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, embed_dim=24, depth=2)
    model: nn.Module = loaded(kind).make()
    if kind == "frozen":
        torch.manual_seed(seed)
        model.head.reset_parameters()
    return model


def task_of(kind: str) -> Task:
    """Return the task of a kind."""
    return ch.make_task(model=lambda: made(kind, 0), data=loaded(kind).data, **FLAGS[kind])


def train(model: nn.Module, task: Task, steps: int = 4, watch: Any = None) -> None:
    """Train on one batch a step, on what has a gradient."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    model.train()
    torch.manual_seed(7)  # for what a network draws
    for step in range(steps):
        _, inputs, targets = next(task.train.shuffled(8, step))
        optimizer.zero_grad()
        task.loss.scalar(task.forward(model, inputs), targets).backward()
        optimizer.step()
        if watch is not None:
            watch.step()


def workspace(kind: str, folder: pathlib.Path) -> pathlib.Path:
    """Make a folder with the kind's file and two checkpoints that were trained a little."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FILES / f"{kind}.py", folder)
    if kind in FLAGS:
        task = task_of(kind)
    for seed, name in ((1, "a"), (2, "b")):
        model = made(kind, seed)
        if kind in FLAGS:
            train(model, task)
        ch.save(model, folder / f"{name}.safetensors")
    return folder


def status_of(words: list[str]) -> int:
    """Run a command line in this process and return its exit status."""
    if words[0] == "connect":
        return exit_status("connect", lambda: connect_command, words[1:])
    return exit_status("connectivity-hooks", lambda: group, words[1:])


@contextmanager
def inside(folder: pathlib.Path) -> Iterator[None]:
    """Work in a folder, as its user does."""
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
