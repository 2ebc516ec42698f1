"""How timm's models are made, recognised and read from timm's own checkpoint folders."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from connectivity_hooks.contracts import Adapter
from connectivity_hooks.errors import InputError, UsageError, near_matches
from connectivity_hooks_timm.folder import model_of_folder
from connectivity_hooks_timm.input_size import input_size
from connectivity_hooks_timm.output_format import output_formats

_DOWNLOADS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


class TimmAdapter(Adapter):
    """timm models: ``timm:resnet18?num_classes=10``. Weights come from checkpoints only, nothing is downloaded."""

    prefix = "timm"

    def create(self, name: str, arguments: Mapping[str, object]) -> nn.Module:
        """Make a timm model without weights of its own.

        Raises:
            InputError: timm is not installed, or refuses the arguments.
            UsageError: timm has no such model, or an argument asks for weights from elsewhere.
        """
        timm = _timm()
        if name not in timm.list_models():
            raise UsageError(f"timm has no model {name!r}; {near_matches(name, timm.list_models())}")
        for argument in _DOWNLOADS:
            if argument in arguments:
                raise UsageError(f"timm:{name}: {argument} is not taken; weights come from the checkpoints")
        try:
            model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
        except Exception as error:  # timm passes the arguments on to any of hundreds of constructors
            raise InputError(
                f"timm:{name}: cannot be made with {dict(arguments)}: {' '.join(str(error).split())}"
            ) from None
        return model

    def claims(self, model: nn.Module) -> bool:
        """Say whether timm made `model`."""
        made_by_timm = type(model).__module__.partition(".")[0] == "timm"
        return made_by_timm and (hasattr(model, "pretrained_cfg") or hasattr(model, "default_cfg"))

    def axes(self, model: nn.Module) -> Mapping[str, str]:
        """Return the axes of what timm says them of: stages by ``output_fmt``, patch embeddings by theirs."""
        return output_formats(model)

    def layers(self, model: nn.Module) -> tuple[str, ...]:
        """Return the stages that timm's feature_info names, then what enters the classifier.

        A model without feature_info has its blocks instead.
        """
        names = {name for name, _ in model.named_modules() if name}
        stages = [name for name in _stages(model) if name in names] or list(_blocks(model))
        classifiers = [f"{name}:input" for name in _classifiers(model)]
        return tuple(dict.fromkeys([*stages, *classifiers]))

    def inputs(self, model: nn.Module, samples: int) -> Tensor | None:
        """Return images of the size the model was made for; None where it does not say."""
        size = input_size(model)
        return None if size is None else torch.randn(samples, *size)

    def model_of(self, folder: pathlib.Path) -> str | None:
        """Return the model that a folder of ``save_for_hf`` names in its config.json."""
        return model_of_folder(folder)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"timm: cannot be imported ({error}); pip install 'connectivity-hooks[timm]'") from None
    return timm


def _stages(model: nn.Module) -> Iterator[str]:
    info = getattr(model, "feature_info", None) or []
    for entry in getattr(info, "info", info):
        if isinstance(entry, Mapping) and isinstance(entry.get("module"), str):
            yield entry["module"]


def _blocks(model: nn.Module) -> Iterator[str]:
    for container in ("blocks", "stages", "layers"):
        children = getattr(model, container, None)
        if isinstance(children, (nn.Sequential, nn.ModuleList)):
            yield from (f"{container}.{name}" for name, _ in children.named_children())
            return


def _classifiers(model: nn.Module) -> Iterator[str]:
    get = getattr(model, "get_classifier", None)
    heads = get() if callable(get) else None
    wanted = list(heads) if isinstance(heads, (tuple, list)) else [heads]
    for name, module in model.named_modules():
        if name and any(module is head for head in wanted) and not isinstance(module, nn.Identity):
            yield name
