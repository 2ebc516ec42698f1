"""Modules of every kind a curve may be trained for, each with a task of random data and two ends."""

import torch
from torch import nn

from connectivity_hooks.model import Forward
from connectivity_hooks.tasks import CachedSplit, Task

N, WIDTH, CLASSES = 40, 5, 3


def plain():
    return nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, CLASSES))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode, self.head = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, CLASSES),
        )
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.head(self.decode(self.encode(x).tanh()).tanh())


def frozen():
    model = plain()
    model[0].requires_grad_(False)
    return model


def normed():
    return nn.Sequential(nn.Linear(WIDTH, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES))


class Buffered(nn.Module):
    """A floating buffer that is no statistic, one that is a mask of infinities, an integer one, and a hidden one."""

    def __init__(self):
        super().__init__()
        self.inner = plain()
        self.register_buffer("scale", torch.rand(WIDTH) + 0.5)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, float("-inf")]))
        self.register_buffer("order", torch.randperm(WIDTH))
        self.register_buffer("hidden", torch.full((), 0.7), persistent=False)

    def forward(self, x):
        return self.inner((x * self.scale)[:, self.order] * self.hidden) + self.mask.exp()


def parametrised():
    model = plain()
    torch.nn.utils.parametrizations.weight_norm(model[0])
    torch.nn.utils.parametrizations.orthogonal(model[2])
    return model


class Restless(nn.Module):
    """Gives its weight other memory, and lets go of gradients, in every pass."""

    def __init__(self):
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        first = self.inner[0]
        first.weight.data = first.weight.data.clamp(-1, 1)
        for parameter in self.inner[2].parameters():
            if parameter.is_leaf:  # those of a functional call are none
                parameter.grad = None
        return self.inner(x)


class Replacing(nn.Module):
    """Puts a new parameter in the place of the old one in every pass."""

    def __init__(self):
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        self.inner[0].weight = nn.Parameter(self.inner[0].weight.detach().clone())
        return self.inner(x)


class Recurrent(nn.Module):
    """A language model; logits (N, T, V) in a dict."""

    def __init__(self):
        super().__init__()
        self.embed, self.unused = nn.Embedding(7, 4, sparse=True), nn.Linear(2, 2)
        self.lstm, self.head = nn.LSTM(4, 5, 2, batch_first=True), nn.Linear(5, 7)

    def forward(self, tokens, scale=None):
        hidden, state = self.lstm(self.embed(tokens))
        return {"state": state[0], "logits": self.head(hidden) * scale[:, None, None]}


class Mixed(nn.Module):
    """A layer in float32 between others, which stays what it is."""

    inner = torch.float32

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(WIDTH, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def _apply(self, function, recurse=True):
        super()._apply(function, recurse)
        self.two.weight.data, self.two.bias.data = (each.data.to(self.inner) for each in self.two.parameters())
        return self

    def forward(self, x):
        return self.three(self.two(self.one(x).tanh().to(self.two.weight.dtype)).to(x.dtype).tanh())


class Coarse(Mixed):
    inner = torch.bfloat16


class Returning(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = plain()

    def forward(self, left, right):
        return (self.inner(left * right), left)


def channels_last():
    model = nn.Sequential(nn.Unflatten(1, (1, 1, WIDTH)), nn.Conv2d(1, 4, (1, 3), bias=False), nn.Flatten())
    return nn.Sequential(model, nn.Linear(4 * (WIDTH - 2), CLASSES)).to(memory_format=torch.channels_last)


VECTORS = {
    "plain": plain,
    "tied": Tied,
    "frozen": frozen,
    "normed": normed,
    "buffered": Buffered,
    "parametrised": parametrised,
    "restless": Restless,
    "mixed": Mixed,
    "channels last": channels_last,
}


def task_of(kind, dtype=torch.float64):
    """Return the task of a kind of module."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, WIDTH, generator=generator, dtype=dtype)
    y = torch.randint(0, CLASSES, (N,), generator=generator)
    factory, forward = VECTORS.get(kind), Forward()
    if kind == "recurrent":
        x = {"tokens": torch.randint(0, 7, (N, 6), generator=generator), "scale": torch.rand(N, generator=generator)}
        x["scale"] = x["scale"].to(dtype)
        y, factory = torch.randint(0, 7, (N, 6), generator=generator), Recurrent
    if kind == "returning":
        x, factory, forward = (x, x.flip(0)), Returning, Forward(0)
    return Task(factory, CachedSplit("train", x, y), dtype=dtype, forward=forward)


def end_of(task, seed):
    """Return random weights of a task's model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = task.model()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
