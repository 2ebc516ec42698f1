"""Which tensor of a file is which of a model: prefixes, an average's counter, and tied tensors."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from connectivity_hooks.checkpoints.header import shown
from connectivity_hooks.checkpoints.reading import Checkpoint

# What torch.optim.swa_utils.AveragedModel stores beside the module inside it, whose names it begins with `module.`.
_COUNTER = "n_averaged"


def sources_of(checkpoint: Checkpoint, known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return {name in the model: name in the file}, as far as the model knows it, and what was done to the names."""
    names, wanted, notes = list(checkpoint.outline), set(known), []
    inner = [name for name in names if name != _COUNTER]
    if len(inner) < len(names) and _COUNTER not in wanted and all(name.startswith("module.") for name in inner):
        names = inner
        notes.append(f"{checkpoint.label}: is of an AveragedModel, whose counter {_COUNTER} was left out")
    renamed, prefix = without_prefix(names, wanted)
    if prefix:
        notes.append(f"{checkpoint.label}: the prefix {shown(prefix)} was stripped")
    return {new: old for old, new in renamed.items()}, notes


def without_prefix(names: Iterable[str], known: Iterable[str]) -> tuple[dict[str, str], str | None]:
    """Return {name in the file: name in the model} and the prefix that was stripped, or None.

    A prefix is stripped only if there is no doubt: every name of the file has it, and the model knows all that is left.
    ``_orig_mod.`` is stripped wherever torch.compile put it, under the same condition.
    """
    names, wanted = list(names), set(known)
    same = {name: name for name in names}
    if set(names) <= wanted:
        return same, None
    one = names[0]
    for prefix in (one[: end + 1] for end, sign in enumerate(one) if sign == "."):
        if all(name.startswith(prefix) and name[len(prefix) :] in wanted for name in names):
            return {name: name[len(prefix) :] for name in names}, prefix
    compiled = {name: name.replace("_orig_mod.", "") for name in names}
    if compiled != same and set(compiled.values()) <= wanted and len(set(compiled.values())) == len(names):
        return compiled, "_orig_mod."
    return same, None


def tied_groups(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the groups of names in the model's state that are one and the same tensor."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.numel():
            place = tensor.data_ptr() or id(tensor)  # on the meta device no tensor has an address
            groups.setdefault((tensor.device, place, tensor.shape, tensor.stride(), tensor.dtype), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def fill_in_tied(model: nn.Module, sources: dict[str, str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """Add the names of tied tensors that a file leaves out to `sources`.

    Returns:
        Pairs of tied names that the file has both of, and what was filled in.
    """
    both, notes = [], []
    for group in tied_groups(model):
        present = [name for name in group if name in sources]
        both += [(present[0], name) for name in present[1:]]
        for name in group if present else ():
            if name not in sources:
                sources[name] = sources[present[0]]
                notes.append(f"{shown(name)} is tied to {shown(present[0])}")
    return tuple(both), notes
