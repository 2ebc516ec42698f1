"""Sub-networks: from some of a layer's features to logits, through few neurons of the layers above.

A sub-network of layer l is a list of affine maps with ReLU between them, one for each layer l+1 … L. Logits of a
shorter one travel to the last layer in pairs of neurons, relu(z) and relu(-z), whose difference is z for every input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from connectivity_hooks_theorem.logistic import fit_logistic

_BATCH = 500


@dataclass(frozen=True)
class Affine:
    """weight (m_out, m_in) and bias (m_out,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Subnetwork:
    """Affine maps with ReLU between them, and the loss they reach on the training features.

    Attributes:
        maps: From the kept features to logits.
        loss: Mean cross-entropy ε_l.
        errors: Misclassified training samples.
    """

    maps: tuple[Affine, ...]
    loss: float
    errors: int

    def carried(self, count: int) -> tuple[Affine, ...]:
        """Return `count` maps that compute the same logits, the last ones passing them on."""
        extra = count - len(self.maps)
        if extra == 0:
            return self.maps
        last, classes = self.maps[-1], len(self.maps[-1].bias)
        eye, nothing = torch.eye(classes).to(last.weight), torch.zeros(2 * classes).to(last.weight)
        pairs = Affine(torch.cat([last.weight, -last.weight]), torch.cat([last.bias, -last.bias]))
        through = torch.cat([torch.cat([eye, -eye], 1), torch.cat([-eye, eye], 1)])
        out = Affine(torch.cat([eye, -eye], 1), torch.zeros(classes).to(last.weight))
        return (*self.maps[:-1], pairs, *[Affine(through, nothing)] * (extra - 1), out)


def probe(features: Tensor, labels: Tensor, classes: int, target: float) -> Subnetwork:
    """Return a logistic probe on features (N, k), trained until its loss is at most `target` or it stalls."""
    subset = torch.arange(features.shape[1], device=features.device)[None]
    fit = fit_logistic(features, labels, subset, classes=classes, loss_target=target, tolerance=1e-3, max_iterations=40)
    return sharpened((Affine(fit.weight[0], fit.bias[0]),), features, labels, target)


def train_hidden(
    features: Tensor, labels: Tensor, classes: int, hidden: int, target: float, epochs: int, generator: torch.Generator
) -> Subnetwork:
    """Return a network with one hidden layer, trained by Adam under a one-cycle schedule until it reaches `target`.

    Args:
        features: (N, k).
        labels: (N,).
        classes: C.
        hidden: Neurons of the hidden layer.
        target: Training ends early when the sharpened loss is at most this.
        epochs: Epochs at most.
        generator: Source of start and order.
    """
    parameters = [tensor.requires_grad_() for tensor in _start(features, classes, hidden, generator)]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    steps = -(-len(features) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for batch in order.split(_BATCH):
            w1, b1, w2, b2 = parameters
            loss = F.cross_entropy(F.linear(F.relu(F.linear(features[batch], w1, b1)), w2, b2), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    w1, b1, w2, b2 = (parameter.detach() for parameter in parameters)
    trained = sharpened((Affine(w1, b1), Affine(w2, b2)), features, labels, target)
    if trained.loss <= target:
        return trained
    refitted = probe(F.relu(F.linear(features, w1, b1)), labels, classes, target)
    return Subnetwork((Affine(w1, b1), *refitted.maps), refitted.loss, refitted.errors)


@torch.no_grad()
def sharpened(maps: tuple[Affine, ...], features: Tensor, labels: Tensor, target: float) -> Subnetwork:
    """Scale the logits by the least factor that brings the loss to `target`, or else by the best one.

    Scaling changes no prediction; where every sample is classified rightly it brings the loss as low as is asked.
    """
    logits = _logits(maps, features).double()
    factor = _factor(logits, labels, target)
    last = maps[-1]
    scaled = (*maps[:-1], Affine(last.weight * factor, last.bias * factor))
    logits = _logits(scaled, features)
    loss = float(F.cross_entropy(logits.double(), labels))
    return Subnetwork(scaled, loss, int((logits.argmax(1) != labels).sum()))


def _factor(logits: Tensor, labels: Tensor, target: float) -> float:
    tried = [2 ** (power / 8) for power in range(-8, 81)]
    best, lowest = 1.0, float("inf")
    for factor in tried:
        loss = float(F.cross_entropy(logits * factor, labels))
        if factor >= 1 and loss <= target:
            return factor
        if loss < lowest:
            best, lowest = factor, loss
        elif loss > 2 * lowest:
            break
    return best


def _logits(maps: tuple[Affine, ...], features: Tensor) -> Tensor:
    for affine in maps[:-1]:
        features = F.relu(F.linear(features, affine.weight, affine.bias))
    return F.linear(features, maps[-1].weight, maps[-1].bias)


def _start(features: Tensor, classes: int, hidden: int, generator: torch.Generator) -> list[Tensor]:
    """Return He-initialised weights for features brought to unit second moment (He et al. 2015)."""
    scale = float(features.square().mean().sqrt().clamp_min(1e-12))
    first = torch.randn(hidden, features.shape[1], generator=generator) * (2 / features.shape[1]) ** 0.5 / scale
    second = torch.randn(classes, hidden, generator=generator) / hidden**0.5
    start = [first, torch.zeros(hidden), second, torch.zeros(classes)]
    return [tensor.to(features.device, features.dtype) for tensor in start]
