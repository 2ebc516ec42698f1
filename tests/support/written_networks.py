"""Networks with drawn weights as files, and their loss by a pass in float64."""

import torch
from torch import nn

from connectivity_hooks.checkpoints import write_tensors


def drawn(factory, seed, scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = factory().state_dict()
        return {key: scale * each if each.is_floating_point() else each for key, each in weights.items()}


def write(folder, name, weights):
    write_tensors(folder / f"{name}.safetensors", {key: each.contiguous() for key, each in weights.items()}, {})
    return folder / f"{name}.safetensors"


def loss_of(task, weights, split=None):
    """Return cross-entropy and the share of errors on a split, in float64."""
    model = task.factory()
    model.load_state_dict(weights)
    model.eval()
    data = split or task.train
    with torch.no_grad():
        outputs = model.double()(data.inputs.double())
    wrong = (outputs.argmax(1) != data.targets()).double().mean()
    return float(nn.functional.cross_entropy(outputs, data.targets())), float(wrong)
