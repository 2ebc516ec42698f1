"""Which linear maps and convolutions REPAIR corrects, for which of them norms do it, and which have to be left."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from connectivity_hooks_corrections.flow import Flow, place_of
from connectivity_hooks_corrections.layers import Layer, is_affine, linear_layers
from connectivity_hooks_corrections.samples import DrawnSamples

_LEAST, _MOST = 2, 32
"""Samples that are followed: two, since some modules take no single one; more than a small batch would show no more."""

_HELD = 2**30
"""Bytes of values that are held while samples are followed: a small part of what measuring a path takes."""

NOT_RUN = "did not run"
COMPUTED = "have weights that are computed from others in every pass"
SHARED = "share their weight or bias with what else reads it"
NO_BIAS = "have no bias to hold the shift"
SEVERAL_TIMES = "run several times in a pass, and one map cannot fit all of them"
NOT_AFFINE = "put out what does not follow from their weight and bias alone"
NO_MODULE = "hold maps that are no modules of their own, as attention in one operation, recurrent layers and scripts do"


@dataclass(frozen=True)
class Choice:
    """What is done to each layer.

    Attributes:
        corrected: Hidden layers that get a factor and a shift for each channel.
        normed: Names of those whose outputs are read by norms alone, which are measured anew.
        left: Names of modules that should be corrected and cannot be, and why.
    """

    corrected: tuple[Layer, ...]
    normed: tuple[str, ...]
    left: Mapping[str, str]


def choose(model: nn.Module, norms: Mapping[str, nn.Module], samples: DrawnSamples) -> Choice:
    """Find out what is to be done to each layer, by passes over a few samples.

    A layer is hidden if what it puts out reaches another linear map or convolution; others are output layers, which
    keep what the path has.

    Args:
        model: The module, in evaluation mode; its weights stay as they are.
        norms: Those whose statistics are measured anew.
        samples: A few of them are used.
    """
    layers = linear_layers(model)
    flow = _followed(model, layers, norms, samples)
    shared = _shared(model)
    corrected, normed, left = [], [], _without_modules(model, flow)
    for name, layer in layers.items():
        if name in left or (name not in flow.hidden and flow.calls[name]):
            continue
        if flow.calls[name] and name not in flow.read:
            normed.append(name)
            continue
        reason = _reason(layer, flow, shared)
        fitting = None if reason else _fitting(layer, flow)
        if fitting is None:
            left[name] = reason or NOT_AFFINE
        else:
            corrected.append(fitting)
    return Choice(tuple(corrected), tuple(normed), left)


def _followed(
    model: nn.Module, layers: Mapping[str, Layer], norms: Mapping[str, nn.Module], samples: DrawnSamples
) -> Flow:
    """Return what becomes of outputs, on as many samples as may be held: parts may run for some samples alone."""
    flow = Flow(model, layers, norms)
    held = flow.follow(samples.few(_LEAST))
    count = min(_MOST, _LEAST * _HELD // max(1, held))
    if count > _LEAST:
        flow = Flow(model, layers, norms)
        flow.follow(samples.few(count))
    return flow


def _reason(layer: Layer, flow: Flow, shared: set[int]) -> str | None:
    """Return why a hidden layer cannot be corrected, as far as its weights and the pass say."""
    weight, bias = layer.weight, layer.bias
    if not flow.calls[layer.name]:
        return NOT_RUN
    if weight is None or (bias is None and getattr(layer.module, "bias", None) is not None):
        return COMPUTED
    if bias is None:
        return NO_BIAS
    if flow.calls[layer.name] > 1:
        return SEVERAL_TIMES
    own = {f"{layer.name}.{part}".lstrip(".") for part in ("weight", "bias")}
    return SHARED if own & flow.outside or {id(weight), id(bias)} & shared else None


def _fitting(layer: Layer, flow: Flow) -> Layer | None:
    """Return a layer whose weights do what is asked of them, tried on what it was given in the pass."""
    arguments = flow.arguments[layer.name]
    ways = [layer, layer.turned()] if layer.is_square else [layer]
    return next((way for way in ways if is_affine(way, *arguments)), None)


def _shared(model: nn.Module) -> set[int]:
    """Return the identities of parameters that more than one module has, or that lie in the memory of another."""
    owners = defaultdict(list)
    for module in model.modules():
        for _, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners[place_of(parameter)].append(id(parameter))
    return set(itertools.chain.from_iterable(each for each in owners.values() if len(each) > 1))


def _without_modules(model: nn.Module, flow: Flow) -> dict[str, str]:
    """Return the modules whose weights were multiplied with values outside of a layer, and reached another."""
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)} & flow.hidden
    modules = dict.fromkeys(name.rpartition(".")[0] or name for name in sorted(weights))
    return dict.fromkeys(modules, NO_MODULE)
