"""Which symmetries Transformers' architectures have, how much of their weights these move, and whether they hold.

python benchmarks/symmetries_transformers.py [--out docs/symmetries-transformers.md] [NAME ...]

A tiny network of each architecture (`transformers_tiny`) is made from its configuration. Its symmetries are derived,
and random elements of all of them at once are applied to random weights in float64 (`checked`). A copy of these weights
under random permutations, signs and rotations is then brought back by weight matching. The exit status is 1 where a
network is not read, or something that was derived does not hold.
"""

import argparse
import collections
import math
import pathlib
import re
import sys
import time
import warnings
from dataclasses import replace

import torch
import transformers as hf
from transformers_tiny import NETWORKS

from connectivity_hooks.errors import InputError
from connectivity_hooks.model import Forward, weights_of
from connectivity_hooks.structure import checked, read_program, read_symmetries, transformed
from connectivity_hooks.structure.spaces import INPUTS, OUTPUTS
from connectivity_hooks.structure.symmetries.checking import TOLERANCE
from connectivity_hooks.structure.symmetries.drawing import random_element, random_weights
from connectivity_hooks.structure.symmetries.groups import GL, MONOMIAL, SCALED, SIGNED, O, S, name_of
from connectivity_hooks.structure.terms import POSITIONS
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights

ENOUGH = 0.9  # of the weights in tensors that some symmetry moves
RECOVERED = 1e-5  # relative distance of all weights
MATCHED = {GL: O, MONOMIAL: SIGNED, SCALED: S}
"""What weight matching looks for: factors and stretches have no nearest element."""


def outcome(network):
    """Return what is known of a network's symmetries, and the seconds; in words what was wrong where it is not read."""
    torch.manual_seed(0)
    model, run = network.make().eval(), Forward(network.pick)
    started = time.perf_counter()
    try:
        derived = read_symmetries(read_program(model, network.inputs, run))
    except InputError as error:
        return str(error), time.perf_counter() - started
    found = checked(derived, model.double(), network.inputs, run)
    return found, time.perf_counter() - started


def recovered(symmetries, model):
    """Return how far a randomly moved copy is from its original, relative, before and after weight matching."""
    narrowed = [replace(each, group=MATCHED.get(each.group, each.group)) for each in symmetries.symmetries]
    symmetries = replace(symmetries, symmetries=tuple(narrowed))
    generator = torch.Generator().manual_seed(0)
    a = symmetries.completed(random_weights(weights_of(model), generator))
    b = transformed(symmetries, a, {each.space: random_element(each, generator) for each in symmetries.symmetries})
    back = transformed(symmetries, b, match_weights(symmetries, a, b).elements, like=a)
    return distance(symmetries, a, b), distance(symmetries, a, back)


def distance(symmetries, a, b):
    """Return the distance of the weights that the network reads, relative to their size."""
    apart, size = (sum(float(part.square().sum()) for part in parts) for parts in (
        [a[name] - b[name] for name in symmetries.shapes], [a[name] for name in symmetries.shapes]
    ))  # fmt: skip
    return math.sqrt(apart / size)


def groups_of(symmetries):
    """Return how many spaces there are of each group in words; those inside heads on their own."""
    titles = [name_of(each.group) + (" in heads" if each.copies > 1 else "") for each in symmetries.symmetries]
    return ", ".join(f"{count} {title}" for title, count in sorted(collections.Counter(titles).items()))


def pinned_by(symmetries):
    """Return in words what pins axes of weights, and why tensors stay that no symmetry moves, with their share.

    Rows of tables, inputs and outputs stay in every network; they are named only where a whole tensor stays for them.
    """
    sizes = {name: math.prod(shape) for name, shape in symmetries.shapes.items()}
    lost = collections.Counter()
    for name in sizes.keys() - symmetries.moving:
        leaves = [leaf.space for layout in symmetries.spaces.weights[name] for leaf in layout.leaves()]
        pins = {pin for number in leaves if number is not None for pin in symmetries.spaces.spaces[number].pins}
        named = sorted(pins - {INPUTS, OUTPUTS, POSITIONS}) or sorted(pins & {INPUTS, OUTPUTS})
        lost[named[0] if named else "no group"] += sizes[name]
    shares = ((reason, count / sum(sizes.values())) for reason, count in lost.most_common())
    whole = [f"{share:.1%} of the weights: {reason}" for reason, share in shares if share >= 0.0005]
    axes = [f"axes: {reason}" for reason in pins_of_axes(symmetries)]
    return "; ".join([*whole, *axes])


def pins_of_axes(symmetries):
    """Return the operations that pin axes of weights, without the rows of tables."""
    found = {}
    for number, space in enumerate(symmetries.spaces.spaces):
        if space.width > 1 and space.whole and any(True for _ in symmetries.spaces.axes_of(number)):
            pins = [pin for pin in space.pins if pin not in (INPUTS, OUTPUTS) and "aten.embedding" not in pin]
            found |= dict.fromkeys(
                re.sub(r"[(]?\b[\w.]*[.]([a-z]\w*(?:[.]\d+)?[)]?)$", r"(\1", pin) for pin in pins[:1]
            )
    return sorted({pin.replace("of (", "of ") for pin in found})


def row(name):
    """Return the cells of an architecture, whether all of it holds, and whether it covers enough and is matched."""
    network = NETWORKS[name]
    found, seconds = outcome(network)
    if isinstance(found, str):
        return [name, "not read", "", "", "", "", found.replace("|", "\\|"), f"{seconds:.1f}"], False, False
    before, after = recovered(found.symmetries, network.make())
    cells = [
        name, groups_of(found.symmetries), f"{found.symmetries.coverage:.1%}", f"{found.deviation:.0e}",
        "; ".join(found.refuted), f"{before:.2f} → {after:.0e}", pinned_by(found.symmetries), f"{seconds:.1f}",
    ]  # fmt: skip
    holds = not found.refuted and found.deviation <= TOLERANCE
    return cells, holds, holds and found.symmetries.coverage >= ENOUGH and after <= RECOVERED


def page(rows, good):
    """Return the table as a page of the documentation."""
    lines = [
        "# Symmetries of Transformers' architectures\n",
        f"Tiny networks of {len(rows)} architectures of transformers {hf.__version__}, made from their configurations. "
        f"All are read. For {good} of {len(rows)} all of this holds: nothing that is derived is refuted (random "
        "elements of every group "
        f"at once change outputs of random weights in float64 by at most {TOLERANCE:.0e}, relative), {ENOUGH:.0%} of "
        "the weights or more lie in tensors that some symmetry moves (coverage), and a copy under random permutations, "
        f"signs and rotations is brought back by weight matching, to {RECOVERED:.0e} of the weights' size. Groups: S "
        "permutations, S± with signs, Mon₊ with positive scales, Mon with any scales, O rotations, O₁ rotations that "
        "keep the vector of ones, GL all invertible maps. Spaces in heads are those whose neurons every head "
        "has of its own. XLNet's heads share what is inside them here, since its weights have an axis for each: "
        "coordinate descent over both can end short of the original. What pins tensors is named with their share of "
        "the weights, and what pins single axes beside the rows of tables, inputs and outputs. "
        "Seconds: of one core, reading included. Made by `python benchmarks/symmetries_transformers.py "
        "--out docs/symmetries-transformers.md`.\n",
        "| architecture | spaces by group | coverage | deviation | refuted | copy's distance | pinned by | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures; left out: all")
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    hf.logging.set_verbosity_error()
    rows, sound, good = [], 0, 0
    for name in arguments.names or NETWORKS:
        cells, holds, enough = row(name)
        rows.append(cells)
        sound, good = sound + holds, good + enough
        print(*cells, sep=" | ", flush=True)
    if arguments.out:
        arguments.out.write_text(page(rows, good), encoding="utf-8")
    sys.exit(sound < len(rows))


if __name__ == "__main__":
    main()
