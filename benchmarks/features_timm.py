"""Whether features of timm's architectures have as many neurons as the modules' own channels say.

python benchmarks/features_timm.py [--out docs/features-timm.md] [NAME ...]

Of every module file of timm the model with the fewest parameters is made without pretrained weights, at the smallest
image size it takes; of the few with more than 10^8 parameters two blocks. Looked at are the layers that are proposed
for it (stages and what enters the classifier), and every module that says its own channels, as it is entered and as it
is left: convolutions, linear layers, norms and embeddings, and the stages and blocks of `feature_info`. A feature with
another number of neurons is a fault, and the exit status is 1; a layer that cannot be measured is counted, and the
reason given.
"""

import argparse
import collections
import pathlib
import sys
import time
import warnings

import timm
import torch
from structure_timm import made, smallest
from timm.models import _registry
from torch import nn

from connectivity_hooks.checking import layers_of
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.select import INPUT
from connectivity_hooks.tasks import LOSSES, CachedSplit

LARGE = 10**8  # parameters; what is larger is made of equal blocks, and two of them fit any machine
_LEAVING = ("out_channels", "out_features", "num_features", "num_channels", "embedding_dim", "embed_dim")
_ENTERING = ("in_channels", "in_features", "num_features", "num_channels")


def said(module, *, entering):
    """Return the channels that a module of PyTorch says itself, by an attribute or by the shape that it normalises."""
    if not isinstance(module, (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase)) and not isinstance(
        module, (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention)
    ):
        return None
    shape = getattr(module, "normalized_shape", ())
    if len(shape) == 1:
        return shape[0]
    names = _ENTERING if entering else _LEAVING
    return next((getattr(module, name) for name in names if isinstance(getattr(module, name, None), int)), None)


def channels(model):
    """Return {layer: channels} for every layer that says its channels."""
    found = {}
    for name, module in model.named_modules():
        for entering, suffix in ((False, ""), (True, INPUT)):
            own = said(module, entering=entering) if name else None
            if own is not None:
                found[name + suffix] = own
    names = dict(model.named_modules())
    for stage in getattr(model, "feature_info", None) or []:
        if isinstance(stage, dict) and stage.get("module") and stage["module"] in names:
            found[stage["module"]] = stage["num_chs"]
    return found


def shortened(name):
    """Return the arguments that make a large model of equal blocks with two of them; none for others."""
    with torch.device("meta"):
        if sum(parameter.numel() for parameter in timm.create_model(name).parameters()) <= LARGE:
            return {}
        try:
            timm.create_model(name, depth=2)
        except TypeError:  # it is not made of equal blocks
            return {}
    return {"depth": 2}


def outcome(name):
    """Return the size of the images, how many layers were compared, and those that are wrong or left out."""
    torch.manual_seed(0)
    model, images = made(name, **shortened(name))
    split = CachedSplit("train", images[torch.arange(3) % len(images)], torch.arange(3))
    expected = channels(model)
    proposed = layers_of(model)
    layers = tuple(dict.fromkeys((*proposed, *expected)))
    seen = Observation(model, split, LOSSES["cross-entropy"], layers).by_call(proposed=True)
    wide = {}
    for layer, width in seen.widths().items():
        wide.setdefault(layer.split("[")[0], {})[layer] = width
    wrong = [
        f"{layer}: {found} instead of {expected[plain]}"
        for plain, widths in wide.items()
        if plain in expected
        for layer, found in widths.items()
        if found != expected[plain]
    ]
    left = {layer: reason for layer, reason in seen.left_out.items() if "never fired" not in reason}
    return {
        "size": images.shape[-1],
        "compared": sum(len(widths) for plain, widths in wide.items() if plain in expected),
        "proposed": sum(layer.split("[")[0] in wide for layer in proposed),
        "of": len(proposed),
        "wrong": wrong,
        "left": left,
    }


def shown(found):
    """Return the cells of a row: the size, layers compared, proposed layers measured, and what is wrong or left out."""
    kinds = collections.Counter(_kind(reason) for reason in found["left"].values())
    notes = "; ".join([*found["wrong"], *(f"{count} {kind}" for kind, count in kinds.most_common())])
    proposed = f"{found['proposed']} of {found['of']}"
    return found["size"], found["compared"] - len(found["wrong"]), proposed, notes.replace("|", "\\|")


def _kind(reason):
    """Return a reason without the shapes, which differ from layer to layer."""
    if reason.startswith("expected 3 rows"):
        return "with no row for each sample"
    return "of several tensors" if "tensors, expected one" in reason else reason


def page(rows):
    """Return the table as a page of the documentation."""
    compared = sum(found["compared"] for *_, found in rows)
    wrong = sum(len(found["wrong"]) for *_, found in rows)
    lines = [
        "# Neurons of timm's architectures\n",
        f"Of each of timm {timm.__version__}'s {len(rows)} module files the model with the fewest parameters, at the "
        f"smallest image size it takes (of those with more than 10^8 parameters two blocks). Of {compared} features of "
        "convolutions, linear layers, norms and embeddings, as they are entered and left, and of stages, "
        f"{compared - wrong} have as many neurons as the modules' own channels say, {wrong} have not. A layer that "
        "cannot be measured is left out with the reason: it has a row for each window of a sample, is computed from "
        "positions alone, or gives several tensors. Made by `python benchmarks/features_timm.py --out "
        "docs/features-timm.md`.\n",
        "| file | model | image | features as wide as said | proposed layers measured | wrong, or left out |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {file} | `{name}` | {' | '.join(map(str, shown(found)))} |" for file, name, found in rows]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; left out: the smallest of every module file")
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in arguments.names or smallest():
        started = time.perf_counter()
        found = outcome(name)
        file = _registry._model_to_module[name].rpartition(".")[2]
        rows.append((file, name, found))
        seconds = time.perf_counter() - started
        print(f"{file:28} {name:32} {seconds:5.1f} s ", *shown(found), flush=True)
    if arguments.out:
        arguments.out.write_text(page(rows), encoding="utf-8")
    sys.exit(any(found["wrong"] for *_, found in rows))


if __name__ == "__main__":
    main()
