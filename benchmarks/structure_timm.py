"""Which of timm's architectures the certified builder takes, and what it says of the others.

python benchmarks/structure_timm.py [--out docs/structure-timm.md] [NAME ...]

Of every module file of timm the model with the fewest parameters is made without pretrained weights, read, and accepted
or refused in one line. Whatever else happens is a fault, and the exit status is 1.
"""

import argparse
import pathlib
import sys
import time
import warnings

import timm
import torch
from timm.models import _registry

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program
from connectivity_hooks_theorem.certified.network.reading import INSTEAD, read_network

SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 288, 384, 448, 512)
"""Image sizes, smallest first: what a network does not depend on its size, and small images are quick."""


def smallest():
    """Return the model with the fewest parameters of each module file of timm, counted without allocating any."""
    found = {}
    for name in timm.list_models():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        module = _registry._model_to_module[name]
        found[module] = min(found.get(module, (count, name)), (count, name))
    return [name for _, (_, name) in sorted(found.items())]


def made(name, **more):
    """Return the model and two images of the smallest size it takes, made with `more` arguments."""
    for size in SIZES:
        for arguments in ({"img_size": size, **more}, more):
            try:
                model = timm.create_model(name, num_classes=10, **arguments).eval()
                images = torch.randn(2, model.pretrained_cfg["input_size"][0], size, size)
                with torch.no_grad():
                    model(images)
            except Exception:  # another size, or no such argument
                continue
            return timm.create_model(name, num_classes=10, **arguments).eval(), images
    raise SystemExit(f"{name}: takes none of the sizes {SIZES}")


def outcome(name):
    """Return the size, the answer, the line, and the seconds of reading."""
    torch.manual_seed(0)
    model, images = made(name)
    started = time.perf_counter()
    try:
        network = read_network(read_program(model, images))
        answer, line = "accepted", f"{len(network.cuts)} cuts, {len(network.spaces)} spaces"
    except InputError as error:
        answer, line = "refused", str(error)
        if "\n" in line:
            answer = "several lines"
    except Exception as error:
        answer, line = "fault", f"{type(error).__name__}: {error}"
    return images.shape[-1], answer, line.removeprefix("builder certified: "), time.perf_counter() - started


def page(rows):
    """Return the table as a page of the documentation."""
    accepted = sum(answer == "accepted" for *_, answer, _ in rows)
    lines = [
        "# Which timm architectures `certified` takes\n",
        f"Of each of timm {timm.__version__}'s {len(rows)} module files the model with the fewest parameters, "
        f"read at the smallest image size it takes: {accepted} accepted, {len(rows) - accepted} refused in one line. "
        "A cut is a place where a sub-network can take over, a space a set of neurons that are cut in two as one "
        "(docs/certified.md). Made by `python benchmarks/structure_timm.py --out docs/structure-timm.md`.\n",
        "| file | model | image | answer | cuts and spaces, or why not |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; left out: the smallest of every module file")
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in arguments.names or smallest():
        size, answer, line, seconds = outcome(name)
        file = _registry._model_to_module[name].rpartition(".")[2]
        rows.append((file, f"`{name}`", size, answer, line.replace(f"; {INSTEAD}", "").replace("|", "\\|")))
        print(f"{file:28} {name:32} {size:4} {answer:9} {seconds:5.1f} s  {line}", flush=True)
    if arguments.out:
        arguments.out.write_text(page(rows), encoding="utf-8")
    sys.exit(any(answer not in ("accepted", "refused") for *_, answer, _ in rows))


if __name__ == "__main__":
    main()
