"""Where a training keeps its state, dies after some saves, and is listened to."""

import json

import pytest

from connectivity_hooks.contracts import State


class Killed(BaseException):
    """Stands for SIGKILL."""


class Kept:
    """Keeps a state after every step, and dies after some of them."""

    def __init__(self, *deaths):
        self.state, self.deaths, self.saved = None, list(deaths), 0

    def load(self):
        return self.state

    def due(self):
        return True

    def save(self, tensors, note=None):
        copies = {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}
        self.state = State(copies, json.loads(json.dumps(note, allow_nan=False)))
        self.saved += 1
        if self.saved in self.deaths:
            raise Killed


def through_deaths(train, *deaths):
    """Return what `train(work)` gives where it is killed after so many saves, and begun anew each time."""
    work = Kept(*deaths)
    for _ in deaths:
        with pytest.raises(Killed):
            train(work)
    return train(work), work


class Heard:
    """A display that keeps what it is told."""

    def __init__(self):
        self.said, self.labels = [], []

    def track(self, items, label, total=None):
        self.total = total
        for item in items:
            self.labels.append(label())
            yield item

    def say(self, message):
        self.said.append(message)
