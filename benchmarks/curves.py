"""Trained curves beside the straight line: what a fifth of the steps of one end reaches.

Trains two ends by Adam under a one-cycle schedule, or takes --ends; then builds every path by `ch.connect` and measures
it by `ch.evaluate`, all at the same t on the same samples. Builders are typed ``NAME?option=value&option=value``; the
budget of those that train is --share of the steps of one end unless it is given.

    python benchmarks/curves.py --model "benchmarks/networks.py:mlp?depth=4&width=200" --data mnist.npz --out runs/mlp
    python benchmarks/curves.py --model FILE.py:vit --data mnist.npz --out runs/vit --ends vit.1.safetensors \
        vit.2.safetensors --steps 2000 --align none weight-matching
"""

import argparse
import pathlib
import time
from dataclasses import replace

import torch
from training import train

import connectivity_hooks as ch
from connectivity_hooks.tasks.references import parse

NONE = "none"
BATCH = 250  # of the trained ends


def ends_of(task, arguments):
    """Return the files of two ends, trained if they are not there, and the steps that trained one."""
    if arguments.ends:
        return arguments.ends, arguments.steps
    files = [arguments.out / f"{seed}.safetensors" for seed in arguments.seeds]
    for seed, file in zip(arguments.seeds, files, strict=True):
        if not file.exists():
            started = time.perf_counter()
            ch.save(train(task, seed, arguments.epochs, BATCH), file)
            print(f"trained seed {seed} in {time.perf_counter() - started:.1f} s", flush=True)
    return files, arguments.epochs * (len(task.train) // BATCH)


def typed(text, budget):
    """Return a builder's name and options; what trains has a budget."""
    name, _, options = text.partition("?")
    given = dict(pair.split("=") for pair in options.split("&") if pair)
    return name, given if name == "linear" else {"budget": budget, **given}


def row_of(files, task, part, align, builder, options, arguments):
    """Build and measure one path; return its row of the table."""
    started = time.perf_counter()
    aligner = None if align == NONE else align
    path = ch.connect(*files, task, builder=builder, options=options, align=aligner, seed=arguments.seed)
    built = time.perf_counter() - started
    found = ch.evaluate(path, part, points=arguments.points, refine=0, correct=arguments.correct)
    train_, test = found.barriers["train"], found.barriers["test"]
    worse = max(test.error_ends)
    shown = "&".join(f"{name}={value}" for name, value in options.items())
    return (
        f"| {align} | {builder} {shown} | {built:.1f} | {train_.loss_max:.4f} | {test.loss_max:.4f} "
        f"| {100 * test.error_max:.2f} % | {100 * (test.error_max - worse):+.2f} | {test.error_climb_t:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="FILE.py:callable?argument=value")
    parser.add_argument("--data", required=True, help="mnist.npz, or FILE.py:callable of normalised images")
    parser.add_argument("--augment", help="of what a curve is trained on; ends are trained without")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--ends", nargs=2, help="two checkpoints, instead of training them")
    parser.add_argument("--steps", type=int, default=2000, help="steps that trained one of --ends")
    parser.add_argument("--epochs", type=int, default=8, help="of an end that is trained here")
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 2))
    parser.add_argument("--share", type=float, default=0.2, help="budget, as a share of the steps of an end")
    parser.add_argument("--align", nargs="+", default=[NONE])
    parser.add_argument("--correct", default=None)
    parser.add_argument("--builders", nargs="+", default=["linear", "bezier", "polychain"])
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--samples", type=int, default=10000, help="of either split that paths are measured on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    parse(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    scaled = "0.1307,0.3081" if arguments.data.endswith(".npz") else None  # MNIST's; others come normalised
    task = ch.make_task(
        model=arguments.model, data=arguments.data, normalize=scaled, augment=arguments.augment, device=arguments.device
    )
    files, steps = ends_of(task, arguments)
    budget = f"{round(arguments.share * steps)}steps"
    part = replace(
        task,
        train=task.train.sample(min(arguments.samples, len(task.train)), 0),
        test=task.test.sample(min(arguments.samples, len(task.test)), 0),
    )
    print(f"{steps} steps an end, budget {budget}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| align | builder | built in s | train loss max | test loss max | test error max | above worse end | at t |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for align in arguments.align:
        for text in arguments.builders:
            print(row_of(files, task, part, align, *typed(text, budget), arguments), flush=True)


if __name__ == "__main__":
    main()
