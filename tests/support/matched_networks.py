"""Networks of every group that weights are matched by, and copies of them moved by random elements."""

import functools

import torch
from torch import Generator, nn

from connectivity_hooks.structure import read_program, read_symmetries, transformed
from connectivity_hooks.structure.symmetries.drawing import random_element, random_weights
from connectivity_hooks.tasks import CachedSplit, Task

CLASSES = 3
VECTOR, IMAGE = (6,), (1, 8, 8)


def mlp(activation, *widths):
    layers = []
    for before, after in zip((6, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))


def _norm(normed, channels):
    return nn.BatchNorm2d(channels) if normed else nn.Identity()


def cnn(normed=False):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), _norm(normed, 6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), _norm(normed, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, CLASSES),
    )  # fmt: skip


def grouped():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
    )  # fmt: skip


class Residual(nn.Module):
    """Two residual blocks on a stream of eight channels."""

    def __init__(self, normed=False):
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(1, 8, 3, padding=1), _norm(normed, 8), nn.Linear(8, CLASSES)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 10, 3, padding=1), _norm(normed, 10), nn.ReLU(),
                nn.Conv2d(10, 8, 3, padding=1), _norm(normed, 8),
            )
            for _ in range(2)
        )  # fmt: skip

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class Headless(nn.Module):
    """A norm whose shift nothing can take over."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3, bias=False)

    def forward(self, x):
        return self.head(self.norm(self.first(x)))


def vit():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=CLASSES, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2
    )


NETWORKS = {
    "relu": (lambda: mlp(nn.ReLU, 12, 10, 12), VECTOR),
    "gelu": (lambda: mlp(nn.GELU, 12, 10, 12), VECTOR),
    "tanh": (lambda: mlp(nn.Tanh, 12, 10, 12), VECTOR),
    "cnn": (cnn, IMAGE),
    "cnn with batch norm": (lambda: cnn(normed=True), IMAGE),
    "grouped": (grouped, IMAGE),
    "residual": (Residual, IMAGE),
    "residual with batch norm": (lambda: Residual(normed=True), IMAGE),
    "vit": (vit, IMAGE),
}


def task_on(make, shape, dtype=torch.float64):
    generator = Generator().manual_seed(0)
    split = CachedSplit("train", torch.randn(40, *shape, generator=generator), torch.arange(40) % CLASSES)
    return Task(make, split.to(torch.device("cpu"), dtype), dtype=dtype)


@functools.cache
def network(name):
    """Return a model in float64, inputs, and its symmetries."""
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double().eval()
    inputs = torch.randn(20, *shape, generator=Generator().manual_seed(1), dtype=torch.float64)
    return model, inputs, read_symmetries(read_program(model, inputs[:2]))


def random_end(model, symmetries, seed):
    """Return weights in float64, large enough that outputs depend on them."""
    generator = Generator().manual_seed(seed)
    drawn = random_weights(model.state_dict(), generator)
    for name, weight in drawn.items():
        if weight.dim() > 1:  # of its own, not what the model began with
            size = 2 * weight.square().mean().sqrt()
            drawn[name] = size * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return symmetries.completed(drawn)


def moved_copy(symmetries, weights, seed):
    """Return the same function with a random element of every group."""
    generator = Generator().manual_seed(seed)
    return transformed(symmetries, weights, {s.space: random_element(s, generator) for s in symmetries.symmetries})
