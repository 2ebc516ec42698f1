"""The experiments of Nguyen, Bréchet and Mondelli (arXiv 2102.09671) on MNIST: the loss by layer, and the width sweep.

    python benchmarks/paper.py layers --data mnist.npz --checkpoint runs/mlp10/end1.safetensors --plot layers.svg
    python benchmarks/paper.py widths --data mnist.npz --plot widths.svg

``layers``: for each layer the loss of the network (O), of dropout stability (the best of 5 halves kept from that layer
on, outputs rescaled) (A), of the best network of half the width trained on half the features (B), and of a linear probe
on half the features. ``widths``: the largest of these over the layers, for MLPs of several widths.
"""

import argparse
import time

import torch
from training import train

import connectivity_hooks as ch
from connectivity_hooks.checking import load_model
from connectivity_hooks.tasks.loss import joined

CONDITIONS = {"dropout stability": "dropout-stability", "sub-network": "subnetwork", "linear probe": "separability"}
OPTIONS = {"separability": {"draws": 1}, "subnetwork": {"draws": 1}}
FLOOR = 1e-6


def own_loss(model, task):
    """Return the training loss."""
    with torch.no_grad():
        losses = [task.loss.measure(model(x), y) for x, y in task.train.batches(2048)]
    return float(joined(losses).mean())


def by_layer(model, task, seed):
    """Return {curve: losses by layer}."""
    curves = {}
    for curve, condition in CONDITIONS.items():
        started = time.perf_counter()
        found = ch.check(model, task, condition, options=OPTIONS.get(condition, {}), seed=seed)
        curves[curve] = [verdict.details["loss"] for verdict in found]
        print(f"{curve}: {time.perf_counter() - started:.1f} s", flush=True)
    return curves


def draw(file, x, curves, xlabel, own):
    """Write a plot of losses on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, losses), marker in zip({"network itself": own, **curves}.items(), "sov^", strict=True):
        axes.plot(x, [max(loss, FLOOR) for loss in losses], marker=marker, label=name)
    axes.set(yscale="log", xlabel=xlabel, ylabel="training loss, nats")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    print(f"wrote {file}")


def table(head, x, curves, own):
    print("| " + head + " | network itself | " + " | ".join(curves) + " |")
    print("|" + "---|" * (len(curves) + 2))
    for index, value in enumerate(x):
        row = [own[index], *(losses[index] for losses in curves.values())]
        print(f"| {value} | " + " | ".join(f"{loss:.2g}" for loss in row) + " |", flush=True)


def layers(arguments, spec):
    task = ch.make_task(model=spec, data=arguments.data, normalize=arguments.normalize)
    model = load_model(arguments.checkpoint, task) if arguments.checkpoint else train(task, 1, 24)
    curves = by_layer(model, task, arguments.seed)
    count = len(next(iter(curves.values())))
    own = [own_loss(model, task)] * count
    x = list(range(1, count + 1))
    table("layer", x, curves, own)
    if arguments.plot:
        draw(arguments.plot, x, curves, "layer", own)


def widths(arguments, spec):
    curves, own = {name: [] for name in CONDITIONS}, []
    for width in arguments.widths:
        here = f"{spec}&width={width}"
        task = ch.make_task(model=here, data=arguments.data, normalize=arguments.normalize)
        model = train(task, arguments.seed + 1, arguments.epochs)
        for name, losses in by_layer(model, task, arguments.seed).items():
            curves[name].append(max(losses))
        own.append(own_loss(model, task))
    table("width", arguments.widths, curves, own)
    if arguments.plot:
        draw(arguments.plot, arguments.widths, curves, "width; worst layer", own)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("layers", "widths"))
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--normalize", default="0.1307,0.3081")
    parser.add_argument("--checkpoint", help="an end of benchmarks/certified.py, for layers; trained anew if left out")
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--widths", type=int, nargs="+", default=[30, 60, 120, 245, 500])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", help="write an SVG here")
    arguments = parser.parse_args()
    spec = f"{__file__.rpartition('/')[0] or '.'}/networks.py:mlp?depth={arguments.depth}"
    layers(arguments, spec) if arguments.what == "layers" else widths(arguments, spec)


if __name__ == "__main__":
    main()
