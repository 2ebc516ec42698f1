"""Parts of a model that its own code compiles, whose modules are hooked all the same."""

import pytest
import torch
from repaired import ends_of, inputs_of, task_of
from torch import nn

from connectivity_hooks.evaluation import ModelOnPath
from connectivity_hooks.evaluation.model_on_path import Corrected
from connectivity_hooks.paths import Path
from connectivity_hooks_corrections.batch_norm import BatchNorm
from connectivity_hooks_corrections.hooked_passes import modules_run
from connectivity_hooks_corrections.repair import Repair


class Compiling(nn.Module):
    """Compiles its body, in a way that needs no compiler of a processor."""

    def __init__(self, compiled=True):
        super().__init__()
        layers = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 5)
        self.body, self.head = nn.Sequential(*layers), nn.Linear(5, 3)
        if compiled:
            self.body.compile(backend="eager")

    def forward(self, x):
        return self.head(self.body(x).relu())


@pytest.mark.parametrize("correction", [BatchNorm, Repair])
def test_parts_that_are_compiled_are_corrected_at_every_t(correction):
    found = []
    for make in (Compiling, lambda: Compiling(False)):
        moving = ModelOnPath(Path.from_points(ends_of(make)), task_of(make, inputs_of(60, 6), 20))
        how = Corrected(moving, correction())
        for t in (0.3, 0.5, 0.7):
            how.go(t)
            found.append({name: w.clone() for name, w in moving.weights.items()})
    for compiled, plain in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(compiled, plain)


def interrupted():
    with modules_run():
        assert not torch.backends.mha.get_fastpath_enabled()
        raise KeyError


def test_what_is_switched_off_for_passes_is_switched_on_again():
    fast = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(KeyError):
        interrupted()
    assert torch.backends.mha.get_fastpath_enabled() == fast
