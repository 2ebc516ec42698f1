"""Tiny models of tokens and pixels, and paths between them whose losses are known."""

import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task

WORDS, LENGTH = 7, 12


class Table(nn.Module):
    """Logits (N, T, W) of the word after each of `tokens` (N, T), read from a table."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WORDS)

    def forward(self, tokens):
        return self.words(tokens.long())


class Pixels(nn.Module):
    """Logits (N, C, H, W), a line of one value."""

    def __init__(self, classes=3):
        super().__init__()
        self.line = nn.Conv2d(1, classes, 1)

    def forward(self, images):
        return self.line(images)


def sequences(count=60, ignored=True, length=LENGTH):
    """Return tokens (N, T), each followed by the next of the alphabet, and these; some are ignored."""
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.randint(0, WORDS, (count, 1), generator=generator) + torch.arange(length)) % WORDS
    targets = (tokens + 1) % WORDS
    lengths = torch.randint(3, length + 1, (count, 1), generator=generator) if ignored else length
    return tokens, torch.where(torch.arange(length) < lengths, targets, -100)


def of_tokens(count=60, **how):
    """Return a task on sequences."""
    tokens, targets = sequences(count, **how)
    cut = count * 2 // 3
    splits = (CachedSplit("train", tokens[:cut], targets[:cut]), CachedSplit("test", tokens[cut:], targets[cut:]))
    return Task(Table, *splits, data_name="tokens")


def tables(right=4.0, wrong=-4.0):
    """Return a path on which the right word's logit is `right` at both ends, and the mean of both in the middle."""
    after = torch.eye(WORDS).roll(1, 1)
    ends = [right * after, right * after]
    points = [ends[0], wrong * after, ends[1]]
    return ch.Path.from_points([{"words.weight": point} for point in points])


def of_pixels(loss="cross-entropy", classes=3, count=40):
    """Return a task on images (N, 1, 6, 6), with a label, or a mask, for each pixel."""
    images = torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0] > 0).long() if loss == "cross-entropy" else (images > 0).float()
    return Task(lambda: Pixels(classes), CachedSplit("train", images, labels), None, LOSSES[loss], data_name="pixels")


def lines(classes=3):
    """Return a straight line between two models of pixels that were not trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ch.Path.from_points([Pixels(classes).state_dict() for _ in range(2)])
