"""Small networks of random subsets against modules trained one by one."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from connectivity_hooks.tasks import LOSSES
from connectivity_hooks_theorem.probes.networks import fit_networks

EPOCHS, SIZE, PEAK = 3, 32, 8e-3


def problem():
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(200, 9, generator=generator, dtype=torch.float64) + 1
    return x, (x[:, :3] ** 2).argmax(1)


def subsets():
    return torch.tensor([[0, 2, 4, 6], [8, 1, 2, 3]])


def alone(draw):
    """Return the outputs of one draw, trained by PyTorch alone from the same beginning in the same order."""
    x, y = problem()
    generator = torch.Generator().manual_seed(5)
    first = torch.randn(2, 4, 7, generator=generator) * (2 / 4) ** 0.5
    last = torch.randn(2, 7, 3, generator=generator) * (2 / 7) ** 0.5
    net = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    for layer, weight in ((net[0], first), (net[2], last)):
        nn.init.zeros_(layer.bias)
        layer.weight.data = weight[draw].T.double()
    standard = ((x - x.mean(0)) / x.std(0))[:, subsets()[draw]]
    optimizer = torch.optim.Adam(net.parameters(), PEAK)
    steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=EPOCHS * 7)
    for _ in range(EPOCHS):
        for rows in torch.randperm(200, generator=generator).split(SIZE):
            optimizer.zero_grad()
            cross_entropy(net(standard[rows]), y[rows]).backward()
            optimizer.step()
            steps.step()
    return net(standard).detach()


def fitted(loss_target=0.0, epochs=EPOCHS):
    x, y = problem()
    generator = torch.Generator().manual_seed(5)
    return fit_networks(
        x, y, subsets(), [7], 3, LOSSES["cross-entropy"], epochs=epochs, loss_target=loss_target, generator=generator
    )


def test_each_draw_is_trained_as_if_alone():
    fit = fitted()
    assert fit.epochs == EPOCHS
    for draw in range(2):
        torch.testing.assert_close(fit.outputs[draw], alone(draw), rtol=1e-8, atol=1e-8)


def test_training_ends_with_the_epoch_in_which_a_draw_reaches_the_target():
    assert fitted(loss_target=100.0, epochs=9).epochs == 1
    assert fitted(loss_target=0.0, epochs=9).epochs == 9
