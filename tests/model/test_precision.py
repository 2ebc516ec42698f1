"""In `in_double` nothing is computed in a narrower type than float64, whoever asks for one."""

import pytest
import torch
from torch import nn

from connectivity_hooks.model import in_double, placed


class Narrow(nn.Module):
    """Casts, softmax, new tensors and constants in float32, and a mean in float16."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 35).view(5, 7))

    def forward(self, x):
        y = x.float() @ self.weight.type(torch.float32)
        y = torch.softmax(y, -1, dtype=torch.float32) * torch.arange(7, dtype=torch.float32)
        y = y @ torch.tensor([[1 / 3, 0.1]] * 7) + torch.full((2,), 0.3) + torch.zeros(2)
        return y.half().mean(0, dtype=torch.float16).to(x.dtype)


def independent(weight, x):
    y = torch.softmax(x @ weight, -1) * torch.arange(7).double()
    thirds, tenths = float(torch.tensor(1 / 3)), float(torch.tensor(0.1))  # constants have the digits they were given
    y = torch.stack([(y * thirds).sum(-1), (y * tenths).sum(-1)], -1) + float(torch.tensor(0.3))
    return y.mean(0)


def test_what_is_cast_to_a_narrower_type_stays_wide_in_the_block_alone():
    model, x = Narrow().double(), torch.linspace(0, 1, 15, dtype=torch.float64).view(3, 5)
    with torch.no_grad():
        with in_double():
            found = model(x)
        expected = independent(model.weight, x)
        assert found.dtype == torch.float64
        assert float((found - expected).abs().max()) < 1e-7  # of constants, which a narrower type has rounded
        assert float((model(x) - expected).abs().max()) > 1e-5
    assert torch.zeros(1).dtype == torch.zeros(1, dtype=torch.float64).float().dtype == torch.float32


def test_bytes_seen_as_numbers_and_integers_stay_what_they_are():
    with in_double():
        assert torch.zeros(2, dtype=torch.int64).view(torch.float32).dtype == torch.float32
        assert torch.arange(3).dtype == torch.int64
        assert torch.ones(2, dtype=torch.complex64).dtype == torch.complex128
        assert (torch.ones(2, dtype=torch.bool).long() + 1).dtype == torch.int64


def test_the_block_ends_with_an_error_as_well():
    with pytest.raises(ValueError, match="stop"), in_double():
        raise ValueError("stop")
    assert placed(torch.zeros(1), dtype=torch.float32).float().dtype == torch.float32


class Branching(nn.Module):
    """An operation that runs one of two functions, beside a cast."""

    def forward(self, x):
        found = torch.cond(x.sum() > 0, lambda y: y / 3, lambda y: y.sin(), (x,))
        return (x.float() + found).to(x.dtype)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_operations_that_run_functions_pass(sign):
    x = sign * torch.linspace(0.1, 1, 7, dtype=torch.float64)
    with in_double(), torch.no_grad():
        found = Branching()(x)
    expected = x + (x / 3 if sign > 0 else x.sin())
    assert float((found - expected).abs().max()) < 1e-15
