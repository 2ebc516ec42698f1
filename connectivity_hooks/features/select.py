"""Which layers to look at: by name, by glob, or by a rule that needs no name."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.nn.modules import activation
from torch.nn.utils.parametrize import is_parametrized

from connectivity_hooks.errors import UsageError, near_matches
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.strangers import guarded_call

INPUT = ":input"

_NOT_ELEMENTWISE = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax)
_ACTIVATIONS = tuple(
    kind
    for kind in vars(activation).values()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and kind not in (nn.Module, *_NOT_ELEMENTWISE)
)
_PARAMETRIZATIONS = "parametrizations"  # where PyTorch keeps what weights are computed from
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def select(model: nn.Module, layers: Sequence[str], *, calls: bool = False) -> tuple[str, ...]:
    """Return the layers that `layers` names, in the order given, without repeats.

    Args:
        model: The module.
        layers: Dotted names or globs (``layer?.*``), each with ``:input`` behind it to mean what enters the module.
        calls: Single calls, ``NAME[0]``, may be named as well.

    Raises:
        UsageError: A name or glob matches no module; near matches are given.
    """
    names = [name for name, _ in model.named_modules() if name]
    chosen: dict[str, None] = {}
    for pattern in layers:
        bare, suffix = (pattern[: -len(INPUT)], INPUT) if pattern.endswith(INPUT) else (pattern, "")
        found = [bare] if bare in names else fnmatch.filter(names, bare)
        if not found and calls and modules_of([pattern])[0].removesuffix(INPUT) in names:
            chosen[pattern] = None
        elif not found:
            raise UsageError(f"no layer {pattern!r} in {type(model).__name__}; {near_matches(bare, names)}")
        chosen.update(dict.fromkeys(name + suffix for name in found))
    return tuple(chosen)


def proposed_layers(model: nn.Module, otherwise: Callable[[nn.Module], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the layers that the adapter of the model's library proposes; without any what `otherwise` gives.

    What no forward pass can reach is not proposed (`reachable`).
    """
    from connectivity_hooks.registry import registry  # plugins are loaded when they are asked for, not before

    adapter = registry().adapter_of(model)
    offered: tuple[str, ...] = ()
    if adapter:
        with guarded_call(f"adapter {adapter.prefix}"):
            offered = tuple(adapter.layers(model))
    return reachable(model, offered) or reachable(model, otherwise(model))


def reachable(model: nn.Module, layers: Iterable[str]) -> tuple[str, ...]:
    """Return `layers` without what never fires, whatever the data, or holds no features.

    These are the model itself, what is inside an `nn.MultiheadAttention` (which reads its weights itself), what
    torch.jit compiled (it calls no hooks), and what enters an embedding: token numbers. A list of modules is never
    called: its last entry stands for what it puts out, all its entries for what enters it.
    """
    modules = dict(model.named_modules())
    found: dict[str, None] = {}
    for layer in layers:
        name, suffix = (layer.removesuffix(INPUT), INPUT) if layer.endswith(INPUT) else (layer, "")
        for entry in _entries(name, modules[name], entering=bool(suffix)) if name in modules else [name]:
            numbers = bool(suffix) and isinstance(modules.get(entry), _EMBEDDINGS)
            if entry and not numbers and not _inside_attention(entry, modules):
                found[entry + suffix] = None
    return tuple(found)


def _entries(name: str, module: nn.Module, *, entering: bool) -> list[str]:
    if isinstance(module, torch.jit.ScriptModule):
        return []
    if type(module).forward is not nn.Module.forward:
        return [name]
    children = list(module.named_children())
    wanted = children if entering else children[-1:]
    return [entry for child, each in wanted for entry in _entries(f"{name}.{child}", each, entering=entering)]


def _inside_attention(name: str, modules: dict[str, nn.Module]) -> bool:
    around = name.rpartition(".")[0]
    return isinstance(modules.get(around), nn.MultiheadAttention)


def default_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the modules whose output is an activation that feeds further weights.

    Rule: the leaf modules in order of registration fall into groups; a module with a weight of two axes or more opens
    a group, and the norms, activations, pools and dropouts after it belong to it. The group's layer is its last
    activation module, else its last norm, else the module with the weight. The last group, the output, is left out.

    Raises:
        UsageError: The model has fewer than two such groups; the layers must be named.
    """
    return tuple(_shown(group)[0] for group in _groups(model)[:-1])


def feature_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the layers of `default_layers`, but as they enter the next weights.

    Where the activation is a function call and no module, its module's output is not yet the feature: the entry is then
    ``NEXT:input``, with NEXT the module that opens the next group. An embedding reads token numbers: what comes before
    it is shown by its own output, and not at all where it is an embedding too, since embeddings are added up.
    """
    groups = _groups(model)
    layers = []
    for group, following in itertools.pairwise(groups):
        name, is_activation = _shown(group)
        if is_activation or (isinstance(following[0][1], _EMBEDDINGS) and not isinstance(group[0][1], _EMBEDDINGS)):
            layers.append(name)
        elif not isinstance(following[0][1], _EMBEDDINGS):
            layers.append(following[0][0] + INPUT)
    return tuple(layers)


def _groups(model: nn.Module) -> list[list[tuple[str, nn.Module]]]:
    groups: list[list[tuple[str, nn.Module]]] = []
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if _has_parts(module) or _inside_attention(name, modules) or f".{_PARAMETRIZATIONS}" in f".{name}":
            continue
        if name and any(weight.ndim > 1 for weight in own_weights(module)):
            groups.append([(name, module)])
        elif groups:
            groups[-1].append((name, module))
    if len(groups) < 2:
        raise UsageError(f"{type(model).__name__} has no two modules with weights of their own; name the layers")
    return groups


def own_weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module itself: those that its weights are computed from, where they are."""
    computed = getattr(module, _PARAMETRIZATIONS, None) if is_parametrized(module) else None
    return [*module.parameters(recurse=False), *(computed.parameters() if computed is not None else ())]


def _has_parts(module: nn.Module) -> bool:
    """Say whether a module is made of others that have names of their own; what computes weights is no such part."""
    parts = [name for name, _ in module.named_children() if name != _PARAMETRIZATIONS]
    return bool(parts) and not isinstance(module, nn.MultiheadAttention)


def _shown(group: list[tuple[str, nn.Module]]) -> tuple[str, bool]:
    for kinds, is_activation in ((_ACTIVATIONS, True), (_NORMS, False)):
        found = [name for name, module in group if isinstance(module, kinds)]
        if found:
            return found[-1], is_activation
    return group[0][0], False
