"""Every builder at several budgets between the same ends of three networks: which is worth its time.

Builders are those the plugins offer. What takes a budget is built once for each of --budgets, shares of the steps that
trained one end; the others once. ``ALIGNER+BUILDER`` aligns the second end first. What is finished is kept in
--out/NETWORK, so that a run that was cut short goes on; networks may run in processes of their own.

    python benchmarks/builders.py --mnist mnist.npz --cifar10 cifar10_jpeg.safetensors --out runs/builders
    python benchmarks/builders.py --networks resnet --cifar10 … --out runs/builders --device cuda
"""

import argparse
import dataclasses
import pathlib
import time
from typing import Any, NamedTuple

import torch
from measured_paths import NONE, Results, measured
from training import train, train_transformer

import connectivity_hooks as ch
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.registry import registry

HERE = pathlib.Path(__file__).parent
ALIGNED = ["weight-matching+linear", "weight-matching+bezier"]


class Network(NamedTuple):
    """A network and how its ends are trained."""

    model: str
    data: str
    train: Any
    steps: int
    batch_size: int
    correct: str | None = None


NETWORKS = {
    "mlp": Network("networks.py:mlp?depth=4&width=200", "mnist", lambda task, seed: train(task, seed, 8), 1920, 250),
    "vit": Network("alignment_networks.py:vit", "mnist", train_transformer, 2000, 64),
    "resnet": Network(
        "networks.py:resnet", "cifar10", lambda task, seed: train(task, seed, 20, 100, 3e-3), 2000, 100, "batch-norm"
    ),
}


def made_task(network, arguments):
    """Return a network's task."""
    files = {"mnist": arguments.mnist, "cifar10": arguments.cifar10}
    data, scaled = files[network.data], None
    if data is None:
        raise SystemExit(f"--{network.data} is needed")
    if network.data == "cifar10":
        data = f"{HERE / 'cifar10.py'}:splits?file={data}&train={arguments.train}&test={arguments.test}"
    else:
        scaled = "0.1307,0.3081"
    return ch.make_task(model=f"{HERE / network.model}", data=data, normalize=scaled, device=arguments.device)


def ends_of(task, network, folder, seeds):
    """Return the files of two ends, trained if they are not there."""
    files = [folder / f"{seed}.safetensors" for seed in seeds]
    for seed, file in zip(seeds, files, strict=True):
        if not file.exists():
            started = time.perf_counter()
            ch.save(network.train(task, seed), file)
            print(f"{folder.name}: trained seed {seed} in {time.perf_counter() - started:.0f} s", flush=True)
    return files


def runs(names, network, budgets):
    """Yield (aligner, builder, share of the steps, options) for every row; a share of 0 where there is no budget."""
    for name in names:
        align, _, builder = name.rpartition("+")
        fields = {field.name for field in dataclasses.fields(registry().builders[builder].cls.Options)}
        for share in budgets if "budget" in fields else [0.0]:
            known = {"budget": f"{max(1, round(share * network.steps))}steps", "batch_size": network.batch_size}
            yield align or NONE, builder, share, {option: value for option, value in known.items() if option in fields}


def tried(*given, **how):
    """Return the figures of a path, or in one line why there is none."""
    try:
        return measured(*given, **how)
    except ConnectivityError as error:
        return {"fault": str(error)}


def row_of(row):
    """Return a line of the table."""
    share = f"{row['share']:g}" if row["share"] else ""
    cells = [row["network"], row["align"], row["builder"], share]
    if "fault" in row:
        return f"| {' | '.join(cells)} | {row['fault']} |"
    above = 100 * (row["test_error_max"] - max(row["test_error_ends"]))
    bound = row["train_bound"]
    cells += [f"{row['built_s']:.1f}", f"{row['train_loss_max']:.4g}", f"{row['test_loss_max']:.4g}"]
    cells += [f"{100 * row['test_error_max']:.2f} %", f"{above:+.2f}", f"{row['length']:.1f}"]
    return f"| {' | '.join(cells)} | {'' if bound is None else f'{bound:.4g}'} |"


def table(name, arguments):
    """Build and measure everything for one network, and print its table."""
    network, folder = NETWORKS[name], arguments.out / name
    folder.mkdir(parents=True, exist_ok=True)
    task = made_task(network, arguments)
    files = ends_of(task, network, folder, arguments.seeds)
    splits = (task.train, task.test)
    few = [split.sample(min(arguments.samples, len(split)), 0) for split in splits]
    part = dataclasses.replace(task, train=few[0], test=few[1])
    results = Results(folder / "results.json")
    kept = {"correct": network.correct, "points": arguments.points, "keep": folder / "work"}
    names = arguments.builders or [*registry().builders, *ALIGNED]
    heads = "network | align | builder | budget | built, s | train loss | test loss | test error | above | length"
    print(f"| {heads} | bound |")
    print(f"{'|---' * 11}|", flush=True)
    for align, builder, share, options in runs(names, network, arguments.budgets):
        key = {"network": name, "align": align, "builder": builder, "share": share, "options": options}
        how = {"builder": builder, "options": options, "align": align, **kept}
        print(row_of(results.row(key, lambda how=how: tried(files, task, part, **how))), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--mnist", help="mnist.npz")
    parser.add_argument("--cifar10", help="cifar10_jpeg.safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--builders", nargs="+", help="BUILDER or ALIGNER+BUILDER; all, and some aligned, if not given")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.05, 0.2, 1.0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 2))
    parser.add_argument("--points", type=int, default=25)
    parser.add_argument("--samples", type=int, default=10000, help="of either split that paths are measured on")
    parser.add_argument("--train", type=int, default=10000, help="CIFAR-10 images to train on")
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    for name in arguments.networks:
        table(name, arguments)


if __name__ == "__main__":
    main()
