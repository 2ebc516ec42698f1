"""A model that cannot be exported is one line that names the cause, and nothing of PyTorch's beside it."""

import logging
import sys
import warnings

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.a(x).relu()
        if h.sum() > 0:
            h = h * 2
        return self.o(h)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in many a repository
        return torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.ReLU()))


def test_a_graph_that_breaks_off_is_not_printed(capfd):
    with pytest.raises(InputError, match="it decides by values it computes"):
        read_program(Deciding().eval(), torch.randn(2, 6))
    assert capfd.readouterr() == ("", "")


def test_stderr_and_logging_are_as_before(capfd):
    before = logging.root.manager.disable
    with pytest.raises(InputError):
        read_program(Deciding().eval(), torch.randn(2, 6))
    assert logging.root.manager.disable == before
    print("heard", file=sys.stderr)
    assert capfd.readouterr().err == "heard\n"


@pytest.mark.parametrize("whole", [False, True])
def test_torchscript_is_named_as_the_cause(whole):
    model = scripted() if whole else nn.Sequential(scripted(), nn.Linear(8, 3))
    with pytest.raises(InputError, match=r"compiled by TorchScript .*give the plain module") as refused:
        read_program(model.eval(), torch.randn(2, 6))
    assert whole or "read: 0 (RecursiveScriptModule): " in str(refused.value)
