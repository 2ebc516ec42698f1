"""Five fine-tuned copies of one network and two strangers, on the bundled digits, as checkpoints."""

import torch
from torch import nn

import connectivity_hooks as ch

CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def normed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
"""
COPIES = ["c1", "c2", "c3", "c4", "c5"]
STRANGERS = ["s1", "s2"]


def train(model, task, steps, generator, rate):
    """Train with Adam on batches of the training split."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    model.train()
    ((x, y),) = task.train.batches(len(task.train))
    for _ in range(steps):
        rows = torch.randint(len(x), (128,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def write_all(folder, name="make"):
    """Write c1 … c5, grown from one start by ``ch.copies``, and the strangers s1 and s2; return the task."""
    (folder / "net.py").write_text(CODE)
    task = ch.make_task(model=f"{folder}/net.py:{name}", data="digits")
    torch.manual_seed(0)
    start = train(task.factory(), task, 60, torch.Generator().manual_seed(0), 0.02)
    ch.save_start(folder / "runs", 60, start)
    for number, copy in enumerate(ch.copies(folder / "runs", seeds=(1, 2, 3, 4, 5)), start=1):
        model = task.factory()
        copy.restore(model)
        ch.save(train(model, task, 30, copy.generator, 0.005), folder / f"c{number}.safetensors")
    for number, stranger in enumerate(STRANGERS):
        torch.manual_seed(10 + number)
        model = train(task.factory(), task, 120, torch.Generator().manual_seed(10 + number), 0.02)
        ch.save(model, folder / f"{stranger}.safetensors")
    return task


def files(folder, *names):
    return [str(folder / f"{name}.safetensors") for name in names]
