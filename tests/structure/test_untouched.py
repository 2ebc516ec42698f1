"""What a pass leaves in a module is put back: attributes, and the hooks that a first pass puts on."""

import torch
from torch import nn

from connectivity_hooks.structure.untouched import untouched


class Capturing(nn.Module):
    """Puts a hook on its layer at the first pass, and notes that it did; returns the sum of what was captured."""

    def __init__(self):
        super().__init__()
        self.layer, self.captured, self.hooked = nn.Linear(3, 2), [], False

    def forward(self, x):
        if not self.hooked:
            self.layer.register_forward_hook(lambda module, given, found: self.captured.append(found))
            self.hooked = True
        self.captured.clear()
        self.layer(x)
        return sum(self.captured)


def test_hooks_of_a_first_pass_are_taken_away_with_what_notes_them():
    model, x = Capturing(), torch.randn(4, 3)
    expected = model.layer(x)
    for _ in range(3):
        with untouched(model):
            torch.testing.assert_close(model(x), expected)
    assert not model.layer._forward_hooks
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(x), expected)
