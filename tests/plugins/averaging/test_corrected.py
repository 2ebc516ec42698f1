"""Averages under a correction: single checkpoints are scored as the mean is."""

import torch
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit
from connectivity_hooks_averaging.soups.average import average


def network():
    return nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 3))


def test_single_checkpoints_are_scored_after_the_correction_too(tmp_path):
    """Statistics of all the data, computed by hand in float64; those in the files are far off."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = x[:, :3].argmax(1)
    files = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = network()
    for number in range(2):
        net = network()
        net.load_state_dict(start.state_dict())
        with torch.no_grad():
            net[0].weight.add_(0.01 * torch.randn(net[0].weight.shape, generator=generator))
            net[1].running_var.fill_(9.0)
        files.append(tmp_path / f"{number}.safetensors")
        ch.save(net, files[-1])
    task = ch.make_task(model=network, data=lambda: ([(x, y)], [(x, y)]))
    assert isinstance(task.train, CachedSplit)
    found = average(files, task, correct="batch-norm", points=3, refine=0)
    for name, file in zip(found.names, files, strict=True):
        net = network().double()
        net.load_state_dict(ch.checkpoints.read(file).weights)
        hidden = net[0](x.double())
        net[1].running_mean.copy_(hidden.mean(0).detach())
        net[1].running_var.copy_(hidden.var(0).detach())
        loss = F.cross_entropy(net.eval()(x.double()), y)
        assert abs(found.scores[name]["train"].loss - float(loss.detach())) < 1e-5
    assert "after batch-norm" in found.verdict
