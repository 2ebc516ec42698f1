"""Aligners and corrections on the straight line between two trainings of one network, beside the line as it is.

Ends are trained once and kept in --out, or given with --ends. Each row aligns the second end, connects and measures by
the public functions: the barrier, loss and accuracy at the middle, the share left of the barrier of the plain line (the
first row), the seconds the aligner adds to `ch.connect`, its check of the function included, and how far outputs moved.
Aligners choose from all training samples; a correction finds its statistics on those of them that are measured.

    python benchmarks/alignment.py --network vit --data mnist.npz --out runs --pairs 3 \
        --align weight-matching activation-matching "learned-matching?budget=300steps" best
    python benchmarks/alignment.py --network mlp7 --data mnist.npz --out runs --align activation-matching \
        --correct none repair
    python benchmarks/alignment.py --network vgg-norm --data cifar10_jpeg.safetensors --out runs \
        --ends vgg/end1.safetensors vgg/end2.safetensors --align weight-matching --correct none batch-norm
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from training import train, train_sgd, train_transformer

import connectivity_hooks as ch
from connectivity_hooks.connecting.methods import make_aligner
from connectivity_hooks.evaluation.measuring import make_correction
from connectivity_hooks.progress import SILENT

HERE = pathlib.Path(__file__).parent
MNIST, CIFAR, TEXT = "mnist.npz", "cifar10_jpeg.safetensors", "none"
NONE = "none"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Network:
    """A network of the table: how it is made, on what and how its ends are trained, and on how much they are measured.

    Attributes:
        model: A function in a file of this folder.
        data: What --data gives.
        trained: Returns an end trained for a task, from a seed.
        samples: Of the training and of the test split, drawn once; all rows are measured on the same.
    """

    model: str
    data: str
    trained: Callable
    samples: tuple[int, int]


# Recipes of the CIFAR-10 networks are those of docs/benchmarks.md. Samples of the text are 64 predictions each.
NETWORKS = {
    "vit": Network("alignment_networks.py:vit", MNIST, train_transformer, (1000, 2000)),
    "gpt": Network("alignment_networks.py:gpt", TEXT, functools.partial(train_transformer, batch_size=16), (62, 125)),
    "mlp": Network(
        "networks.py:mlp?depth=3&width=512", MNIST, functools.partial(train, epochs=8, peak=1e-3), (10000, 10000)
    ),
    "mlp7": Network("alignment_networks.py:plain_mlp?depth=7&width=128", MNIST, train_sgd, (10000, 10000)),
    "resnet": Network(
        "networks.py:resnet", CIFAR, functools.partial(train, epochs=20, batch_size=100, peak=3e-3), (2000, 2000)
    ),
    "vgg": Network(
        "networks.py:vgg?norm=0", CIFAR, functools.partial(train, epochs=12, batch_size=100, peak=1.5e-3), (2000, 2000)
    ),
    "vgg-norm": Network(
        "networks.py:vgg?norm=1", CIFAR, functools.partial(train, epochs=8, batch_size=100, peak=2e-3), (2000, 2000)
    ),
}


@dataclass(frozen=True)
class Method:
    """An aligner or a correction as typed, ``NAME?option=value&option=value``.

    Attributes:
        typed: The same.
        name: Its name; None where ``none`` was typed.
        options: Values by name, as text.
    """

    typed: str
    name: str | None
    options: dict[str, str]

    @classmethod
    def of(cls, typed):
        """Read what was typed."""
        name, _, query = typed.partition("?")
        options = dict(part.partition("=")[::2] for part in query.split("&") if part)
        return cls(typed, None if name == NONE else name, options)


PLAIN = Method.of(NONE)


def task_of(network, data, device):
    """Return the task on all data: aligners and trainings choose their samples themselves."""
    spec = {"model": f"{HERE / network.model}", "device": device}
    if network.data == TEXT:
        return ch.make_task(**spec, data=f"{HERE / 'alignment_networks.py'}:text")
    if network.data == CIFAR:
        return ch.make_task(**spec, data=f"{HERE / 'cifar10.py'}:splits?file={data}&train=10000&test=10000")
    return ch.make_task(**spec, data=data, normalize="0.1307,0.3081")


def part_of(task, samples):
    """Return the task on samples of both splits, which all rows are measured on."""
    drawn = [split.sample(min(count, len(split)), 0) for split, count in zip(task.splits(), samples, strict=True)]
    return task.on(*drawn, task.notes)


def pairs_of(name, task, arguments):
    """Return the files of the ends, two by two, trained now where they are not there yet."""
    if arguments.ends:
        return [tuple(arguments.ends)]
    seeds = range(1, 2 * arguments.pairs + 1)
    files = [str(arguments.out / f"{name}.{seed}.safetensors") for seed in seeds]
    for seed, file in zip(seeds, files, strict=True):
        if not pathlib.Path(file).exists():
            started = time.perf_counter()
            ch.save(NETWORKS[name].trained(task, seed), file)
            print(f"{name}: trained seed {seed} in {time.perf_counter() - started:.0f} s", flush=True)
    return list(zip(files[::2], files[1::2], strict=True))


def connected(pair, task, aligner):
    """Return the straight line between the ends, the second aligned, and the seconds it took."""
    started = time.perf_counter()
    path = ch.connect(*pair, task=task, builder="linear", align=aligner.name, align_options=aligner.options)
    return path, time.perf_counter() - started


def measured(path, part, correction, points):
    """Return the figures of a line by split, JSON-ready."""
    started = time.perf_counter()
    options = correction.options or None
    result = ch.evaluate(path, part, points=points, refine=0, correct=correction.name, correct_options=options)
    row = {"evaluated_seconds": time.perf_counter() - started, "length": result.length, "notes": list(result.notes)}
    for split in SPLITS:
        figures = result.barriers[split]
        middle = next(point for point in result.curves[split] if point.t == 0.5)
        row[split] = {
            "barrier": figures.barrier_entezari,
            "barrier_interval": figures.barrier_interval,
            "worst_t": figures.worst_t,
            "loss": middle.loss,
            "accuracy": 1 - middle.error,
            "loss_ends": list(figures.loss_ends),
            "accuracy_ends": [1 - error for error in figures.error_ends],
            "error_barrier": figures.error_barrier,
        }
    return row


def rows_of(pair, task, part, arguments):
    """Yield the rows of a pair, that of the plain line first; what a method refuses is a row that says so.

    Raises:
        ConnectivityError: The ends cannot be connected or measured as they are.
    """
    ends = {"ends": [pathlib.Path(file).name for file in pair]}
    connected(pair, task, PLAIN)  # imports what the timed calls then find there
    path, plain_seconds = connected(pair, task, PLAIN)
    plain = measured(path, part, PLAIN, arguments.points)
    for aligner in [PLAIN, *(one for one in arguments.align if one.name)]:
        head = ends | {"align": aligner.typed}
        try:
            path, seconds = (path, plain_seconds) if aligner is PLAIN else connected(pair, task, aligner)
        except ch.ConnectivityError as error:
            yield head | {"refused": str(error)}
            continue
        head |= {"align_seconds": seconds - plain_seconds, "connect_seconds": seconds} | _done(path)
        for correction in [PLAIN, *(one for one in arguments.correct if one.name)]:
            first = aligner is PLAIN and correction is PLAIN
            try:
                row = plain if first else measured(path, part, correction, arguments.points)
            except ch.ConnectivityError as error:
                row = {"refused": str(error)}
            yield head | {"correct": correction.typed} | row | {"share": _shares(row, plain)}


def _done(path):
    """Return how far an aligner moved the outputs, and the figures it tells of itself; nothing where there was none."""
    if path.alignment is None:
        return {"deviation": 0.0}
    record = path.alignment["record"]
    told = {name: value for name, value in record.items() if isinstance(value, (bool, int, float, str))}
    return {"deviation": path.alignment["deviation"], "options": path.alignment["options"], "record": told}


def _shares(row, plain):
    """Return by split the share left of the plain line's barrier; None where that has none."""
    barriers = {split: plain[split]["barrier"] for split in SPLITS if split in row}
    return {split: row[split]["barrier"] / of if of > 0 else None for split, of in barriers.items()}


def ends_line(row):
    """Return the figures of the ends in words."""
    texts = []
    for split in SPLITS:
        losses = ", ".join(f"{loss:.4g}" for loss in row[split]["loss_ends"])
        accuracies = ", ".join(f"{accuracy:.2%}" for accuracy in row[split]["accuracy_ends"])
        texts.append(f"{split} loss {losses}, accuracy {accuracies}")
    return f"Ends {' and '.join(row['ends'])}: {'; '.join(texts)}."


def table_head(points):
    """Return the first lines of a table."""
    names = ["aligner", "correction", f"barrier train / test ({points} t)", "of the plain barrier", "loss at 1/2"]
    names += ["accuracy at 1/2", "aligning", "outputs moved by"]
    return f"\n| {' | '.join(names)} |\n{'|---' * len(names)}|"


def table_row(row):
    """Return a row of figures, or of why there are none."""
    cells = [row["align"], row.get("correct", "any")]
    if "refused" in row:
        return f"| {' | '.join([*cells, row['refused'].replace('|', '/')])} |"
    figures = [row[split] for split in SPLITS]
    cells.append(" / ".join(f"{each['barrier']:.4f}" for each in figures))
    cells.append(" / ".join("–" if share is None else f"{share:.3f}" for share in row["share"].values()))
    cells.append(" / ".join(f"{each['loss']:.4f}" for each in figures))
    cells.append(" / ".join(f"{each['accuracy']:.2%}" for each in figures))
    aligned = row["align"] != NONE
    cells += [f"{row['align_seconds']:.1f} s", f"{row['deviation']:.0e}"] if aligned else ["–", "–"]
    return f"| {' | '.join(cells)} |"


def write(file, report):
    """Write all rows so far, so that a run that is ended early leaves its figures."""
    file.write_text(json.dumps(report, indent=1), encoding="utf-8")


def parsed():
    """Return the arguments, with methods that are there and take the options they are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--data", help="mnist.npz or cifar10_jpeg.safetensors; gpt reads Python's own code")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=1, help="pairs of ends: seeds 1 and 2, 3 and 4, …")
    parser.add_argument("--ends", nargs=2, metavar=("A", "B"), help="checkpoints to use instead")
    parser.add_argument("--align", nargs="+", type=Method.of, default=[PLAIN], metavar="NAME?option=value")
    parser.add_argument("--correct", nargs="+", type=Method.of, default=[PLAIN], metavar="NAME?option=value")
    parser.add_argument("--points", type=int, default=11, help="even grid on [0, 1], an odd number: 1/2 is in it")
    parser.add_argument("--samples", type=int, nargs=2, metavar=("TRAIN", "TEST"), help="to measure on")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    if arguments.points % 2 == 0:
        parser.error("--points: expected an odd number, so that 1/2 is among them")
    if arguments.data is None and NETWORKS[arguments.network].data != TEXT:
        parser.error(f"--data: {NETWORKS[arguments.network].data} is needed")
    try:  # before anything is trained
        for one in arguments.align:
            make_aligner(one.name, one.options, seed=0, progress=SILENT)
        for one in arguments.correct:
            make_correction(one.name, one.options)
    except ch.UsageError as error:
        parser.error(str(error))
    return arguments


def main():
    arguments = parsed()
    arguments.out.mkdir(parents=True, exist_ok=True)
    network = NETWORKS[arguments.network]
    task = task_of(network, arguments.data, arguments.device)
    part = part_of(task, arguments.samples or network.samples)
    samples = {split.name: len(split) for split in part.splits()}
    device = torch.cuda.get_device_name() if task.device.type == "cuda" else platform.machine()
    where = {"device": device, "threads": os.environ.get("OMP_NUM_THREADS"), "torch": torch.__version__}
    report = {"network": arguments.network, "samples": samples, "points": arguments.points, **where, "rows": []}
    print(f"{arguments.network}: measured on {samples['train']} training and {samples['test']} test samples; {where}")
    for pair in pairs_of(arguments.network, task, arguments):
        for number, row in enumerate(rows_of(pair, task, part, arguments)):
            if number == 0:
                print("\n" + ends_line(row) + "\n" + table_head(arguments.points))
            print(table_row(row), flush=True)
            report["rows"].append(row)
            write(arguments.out / f"{arguments.network}.json", report)


if __name__ == "__main__":
    try:
        main()
    except ch.ConnectivityError as refused:
        raise SystemExit(str(refused)) from None
