from dataclasses import dataclass

from connectivity_hooks.contracts import Builder, option
from connectivity_hooks.paths import Path


@dataclass(frozen=True)
class Options:
    shrink: float = option(0.5, "Factor on the mean of the two ends.", gt=0, le=1)


class Detour(Builder):
    """Two straight lines that meet at a shrunken mean of the ends."""

    name = "detour"
    Options = Options

    def build(self, a, b, task):
        middle = {
            name: self.options.shrink * (tensor + b[name]) / 2 if tensor.is_floating_point() else tensor
            for name, tensor in a.items()
        }
        return Path.from_points([a, middle, b])
