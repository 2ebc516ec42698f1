"""Which symmetries timm's architectures have, how much of their weights these move, and whether they hold.

python benchmarks/symmetries_timm.py [--out docs/symmetries-timm.md] [--rows rows.jsonl] [--limit 300] [NAME ...]

Of every module file of timm the model with the fewest parameters is made without pretrained weights, at the smallest
image size it takes; of those with more than 10^8 parameters two blocks. Its symmetries are derived, and random elements
of all of them at once are applied to random weights in float64 (`checked`). Each model has a process of its own and a
time limit; what is done is kept in the file of rows, so that a run that was ended goes on where it was. The exit status
is 1 where a model is not read, or something that was derived does not hold.
"""

import argparse
import collections
import json
import math
import multiprocessing
import pathlib
import sys
import time
import warnings

import timm
import torch
from features_timm import shortened
from structure_timm import made, smallest
from timm.models import _registry

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program, read_spaces
from connectivity_hooks.structure.spaces import INPUTS, OUTPUTS
from connectivity_hooks.structure.symmetries import checked, read_symmetries
from connectivity_hooks.structure.symmetries.checking import TOLERANCE
from connectivity_hooks.structure.symmetries.groups import name_of
from connectivity_hooks.structure.terms import POSITIONS

ENOUGH = 0.9  # of the weights in tensors that some symmetry moves
NAMED = 3  # operations that pin, most weights first; the rest is counted


def outcome(name):
    """Return what is known of a model's symmetries, as JSON takes it."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model, images = made(name, **shortened(name))
    started = time.process_time()
    try:
        program = read_program(model, images)
        spaces = read_spaces(program)
    except InputError as error:
        return {"size": images.shape[-1], "error": str(error)}
    derived_from = time.process_time()
    derived = read_symmetries(program, spaces)
    derived_at = time.process_time()
    found = checked(derived, model.double(), images.double())
    groups = collections.Counter(name_of(each.group) for each in found.symmetries.symmetries)
    return {
        "size": images.shape[-1],
        "groups": dict(groups.most_common()),
        "coverage": found.symmetries.coverage,
        "deviation": found.deviation,
        "refuted": list(found.refuted),
        "pinned": pinned_by(found.symmetries),
        "read": derived_from - started,
        "derive": derived_at - derived_from,
        "check": time.process_time() - derived_at,
    }


def pinned_by(symmetries):
    """Return, for each reason why weights stay, their share of all weights; the largest first."""
    sizes = {name: math.prod(shape) for name, shape in symmetries.shapes.items()}
    spaces, lost = symmetries.spaces.spaces, collections.Counter()
    for name in sizes.keys() - symmetries.moving:
        leaves = [leaf.space for layout in symmetries.spaces.weights[name] for leaf in layout.leaves()]
        pins = {pin for number in leaves if number is not None for pin in spaces[number].pins}
        operations = sorted(pins - {INPUTS, OUTPUTS, POSITIONS}) or sorted(pins & {INPUTS, OUTPUTS})
        lost[operations[0] if operations else "positions alone" if not pins else "no group"] += sizes[name]
    return [(reason, count / max(1, sum(sizes.values()))) for reason, count in lost.most_common()]


def _answer(name, pipe):
    try:
        found = outcome(name)
    except Exception as error:  # a fault of ours, which the table names
        found = {"size": "", "error": f"{type(error).__name__}: {error}"}
    pipe.send(found)


def within(name, seconds):
    """Return the outcome, from a process that is ended after some seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(name, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(seconds) else {"size": "", "error": f"not done in {seconds:g} s"}
    except EOFError:
        found = {"size": "", "error": "the process ended"}
    if process.is_alive():
        process.kill()
    process.join()
    return found


def holds(found):
    """Say whether a model was read and all that was derived for it holds."""
    return "error" not in found and not found["refuted"] and found["deviation"] <= TOLERANCE


def cells(found):
    """Return the cells of a row."""
    if "error" in found:
        return found["size"], "not read", "", "", found["error"].replace("|", "\\|").replace("\n", " "), ""
    groups = ", ".join(f"{count} {group}" for group, count in found["groups"].items())
    pinned = [f"{share:.1%} {reason}" for reason, share in found["pinned"] if share >= 0.0005]
    more = [f"and {len(pinned) - NAMED} more"] if len(pinned) > NAMED else []
    refuted = [f"refuted: {len(found['refuted'])}, {found['refuted'][0]}"] if found["refuted"] else []
    notes = "; ".join([*refuted, *pinned[:NAMED], *more]).replace("|", "\\|")
    seconds = found["read"] + found["derive"] + found["check"]
    return found["size"], groups, f"{found['coverage']:.1%}", f"{found['deviation']:.0e}", notes, f"{seconds:.1f}"


def page(rows):
    """Return the table as a page of the documentation."""
    good = [found for _, _, found in rows if holds(found)]
    enough = sum(found["coverage"] >= ENOUGH for found in good)
    lines = [
        "# Symmetries of timm's architectures\n",
        f"Of each of timm {timm.__version__}'s {len(rows)} module files the model with the fewest parameters, at the "
        "smallest image size it takes (of those with more than 10^8 parameters two blocks). "
        f"{len(good)} of {len(rows)} are read, and all that is derived for them holds: random elements of every group "
        f"at once change outputs of random weights in float64 by at most {TOLERANCE:.0e}. For {enough} of them "
        f"{ENOUGH:.0%} of the weights or more lie in tensors that some symmetry moves (coverage); what keeps others "
        "where they are is named with its share of the weights. Groups: S permutations, S± with signs, Mon₊ with "
        "positive scales, Mon with any scales, O rotations, O₁ rotations that keep the vector of ones, GL all "
        "invertible maps. Seconds: the reading of the program included; more where other work ran beside it. Made by "
        "`python benchmarks/symmetries_timm.py --out docs/symmetries-timm.md`.\n",
        "| file | model | image | spaces by group | coverage | deviation | refuted, pinned by | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {file} | `{name}` | {' | '.join(map(str, cells(found)))} |" for file, name, found in rows]
    return "\n".join(lines) + "\n"


def kept(path):
    """Return the rows that a file has, by model."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: row["found"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; left out: the smallest of every module file")
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    parser.add_argument("--rows", type=pathlib.Path, help="keep what is done there, and go on from it")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one model (default 300)")
    arguments = parser.parse_args()
    done, rows = kept(arguments.rows), []
    for name in arguments.names or smallest():
        found = done.get(name) or within(name, arguments.limit)
        if arguments.rows and name not in done:
            with arguments.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "found": found}) + "\n")
        module = _registry._model_to_module[name].rpartition(".")[2]
        rows.append((module, name, found))
        print(f"{module:22} {name:32}", *cells(found), sep=" | ", flush=True)
    if arguments.out:
        arguments.out.write_text(page(rows), encoding="utf-8")
    sys.exit(not all(holds(found) for *_, found in rows))


if __name__ == "__main__":
    main()
