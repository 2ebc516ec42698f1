"""What modules say of the axes of what they put out: by their kind, by their weights, and by ``batch_first``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.layout import Layout
from connectivity_hooks.features.library import told_axes, told_layout
from connectivity_hooks.features.select import INPUT, own_weights

_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm)
_TRANSFORMERS = (
    *(nn.Transformer, nn.TransformerEncoder, nn.TransformerEncoderLayer),
    *(nn.TransformerDecoder, nn.TransformerDecoderLayer),
)
_CHANNELS_LAST = (
    *(nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention),
    *(nn.RMSNorm, *_TRANSFORMERS),
)
_NO_READERS = (nn.Embedding, nn.EmbeddingBag)


def made_by(module: nn.Module, ndim: int) -> int | None:
    """Return the axis of neurons of what a module of PyTorch puts out; None where its kind does not say.

    A class that is derived from one of them and computes something else (a layer norm of maps) does not say.
    """
    if _is_any(module, _CHANNELS_FIRST):
        return 1 if ndim > 1 else None
    if len(getattr(module, "normalized_shape", ())) > 1:
        return None  # a layer norm over maps: channels and positions
    return ndim - 1 if _is_any(module, _CHANNELS_LAST) else None


def read_by(module: nn.Module, ndim: int) -> int | None:
    """Return the axis of neurons of what enters a module of PyTorch; None where its kind does not say."""
    return None if isinstance(module, _NO_READERS) else made_by(module, ndim)


def hinted(module: nn.Module, ndim: int) -> int | None:
    """Return the axis that a module's kind says, though it may be derived from it and compute something else."""
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    return ndim - 1 if isinstance(module, _CHANNELS_LAST) else None


def batch_first(model: nn.Module, layer: str) -> bool | None:
    """Return what a module, else the nearest around it, else the first inside it, says of its samples; None: nothing.

    The model itself is around all of its layers.
    """
    name = modules_of([layer])[0].removesuffix(INPUT)
    parts = name.split(".")
    around = (model.get_submodule(".".join(parts[:count])) for count in range(len(parts), -1, -1))
    said = next((said for said in map(says_batch_first, around) if said is not None), None)
    return _first_said(model.get_submodule(name).modules()) if said is None else said


def says_batch_first(module: nn.Module) -> bool | None:
    """Return what a module itself says of its first axis; PyTorch's transformers leave it to their attention."""
    return _first_said(module.modules() if isinstance(module, _TRANSFORMERS) else [module])


def _first_said(modules: Iterable[nn.Module]) -> bool | None:
    found = (getattr(module, "batch_first", None) for module in modules)
    return next((said for said in found if isinstance(said, bool)), None)


class ModuleLayouts:
    """Layouts told by the modules alone, where one batch is all that was seen, as in a training's own passes.

    Args:
        model: The module.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._found: dict[tuple[str, tuple[int, ...], int], Layout] = {}
        self._told = told_axes(model)

    def of(self, layer: str, shape: Sequence[int], rows: int = 0) -> Layout:
        """Return the layout of a layer whose samples are on the axis `rows`.

        The neurons are the axis that the model's library or the kind of the module says, or for a module without
        weights or around others the one that is as long as the weights before it are wide.

        Args:
            layer: Dotted name, ``NAME:input``, or a single call of either.
            shape: Shape of its feature.
            rows: Its axis of samples.

        Raises:
            InputError: It is not clear which are the neurons.
        """
        asked = (layer, tuple(shape), rows)
        if asked not in self._found:  # every pass of a training asks
            name = modules_of([layer])[0]
            said = told_layout(self._told, name, len(shape), rows)
            self._found[asked] = said or _told(self._model, name, shape, rows)
        return self._found[asked]


def _told(model: nn.Module, name: str, shape: Sequence[int], rows: int) -> Layout:
    ndim = len(shape)
    if ndim == 2:
        return Layout(rows, (1 - rows,))
    module = model.get_submodule(name.removesuffix(INPUT))
    axis = read_by(module, ndim) if name.endswith(INPUT) else made_by(module, ndim)
    if axis is None or axis == rows:
        axis = as_wide(model, name, shape, rows)
    if axis is None:
        raise InputError(unclear(shape))
    return Layout(rows, (axis,))


def layout_by_module(model: nn.Module, layer: str, shape: Sequence[int], samples: int) -> Layout:
    """Return the layout of a layer of which one batch alone was seen.

    The samples are the axis that is as long as the batch, of several the one that ``batch_first`` says; the neurons are
    as `ModuleLayouts` says.

    Args:
        model: The module.
        layer: Dotted name, ``NAME:input``, or a single call of either.
        shape: Shape of its feature.
        samples: Samples of the batch.

    Raises:
        InputError: No axis is as long as the batch, or it is not clear which are the neurons.
    """
    return ModuleLayouts(model).of(layer, shape, _samples_axis(model, layer, shape, samples))


def as_wide(model: nn.Module, name: str, shape: Sequence[int], rows: int) -> int | None:
    """Return the axis that is as long as the nearest weights are wide, of several the one their module's kind says."""
    for module in _before(model, name):
        widths = {length for weight in own_weights(module) for length in weight.shape}
        fitting = [axis for axis, length in enumerate(shape) if axis != rows and length in widths]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            said = made_by(module, len(shape))
            return said if said in fitting else None
    return None


def unclear(shape: Sequence[int]) -> str:
    """Return why the neurons of a feature of that shape are not known."""
    return (
        f"which axis of its output {tuple(shape)} are the neurons cannot be told; name it: axes= (--axes "
        "LAYER=NTC), N for the samples, C for the neurons, another letter for positions"
    )


def no_samples(shape: Sequence[int], samples: int) -> str:
    """Return why a feature of that shape has no rows."""
    found = f"found {shape[0]} in its shape {tuple(shape)}" if len(shape) else "found a single number"
    return (
        f"expected {samples} rows for a batch of {samples} samples, {found}; name a layer with an axis that counts the "
        "samples"
    )


def _samples_axis(model: nn.Module, layer: str, shape: Sequence[int], samples: int) -> int:
    fitting = [axis for axis, length in enumerate(shape) if length == samples]
    if not fitting or len(shape) < 2:
        raise InputError(no_samples(shape, samples))
    if len(fitting) > 1 and 1 in fitting and len(shape) == 3 and batch_first(model, layer) is False:
        return 1
    return fitting[0]


def _before(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """Yield the modules with weights in and before a layer, nearest first; before what enters it, without those in it.

    A module that says nothing is passed by, such as one whose only weights are scales.
    """
    bare = name.removesuffix(INPUT)
    names = [each for each, _ in model.named_modules()]
    inside = [index for index, each in enumerate(names) if each == bare or each.startswith(f"{bare}.")]
    end = inside[0] if name.endswith(INPUT) else inside[-1] + 1
    for each in reversed(names[:end]):
        module = model.get_submodule(each)
        if any(weight.ndim > 1 for weight in own_weights(module)):
            yield module


def _is_any(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Say whether a module is of a kind and computes what that kind does."""
    return any(isinstance(module, kind) and _own(module) in _forwards(kind) for kind in kinds)


def _own(module: nn.Module) -> object:
    return type(module).forward


def _forwards(kind: type[nn.Module]) -> set[object]:
    """Return what a kind of PyTorch computes: of an abstract one what each of PyTorch's own does."""
    derived = [kind, *(each for each in _below(kind) if each.__module__.startswith("torch.nn."))]
    return {each.forward for each in derived}


def _below(kind: type[nn.Module]) -> Iterator[type[nn.Module]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
