"""What the regulariser of a volume does: its size, where it grows, and the loss and the mean prediction inside.

Trains pairs of MLPs of 2×64 on the digits, and between each a volume for every λ. The columns are those of
docs/curves.md, and the loss of the mean prediction of 20 draws, beside that of both ends.

    python benchmarks/simplex.py --seeds 1 2 3 4 5 6
"""

import argparse
import statistics

import torch
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss
from training import train

from connectivity_hooks.contracts import make_options
from connectivity_hooks.model import assign, evaluation_mode, weights_of
from connectivity_hooks.tasks import make_task
from connectivity_hooks_curves.simplex.builder import complex_of
from connectivity_hooks_curves.simplex.complex import Vertex
from connectivity_hooks_curves.simplex.training import SimplexOptions, train_connectors

FIRST = "1.weight"  # the layer that reads pixels
TOGETHER = 20  # draws whose predictions are averaged


def network():
    """Return an MLP that reads images of 8×8."""
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


@torch.no_grad()
def outputs_of(task, weights):
    """Return the outputs on all test samples, and their labels."""
    model = task.model()
    assign(weights_of(model), weights)
    with evaluation_mode(model):
        inputs, targets = next(iter(task.test.batches(len(task.test))))
        return task.forward(model, inputs), targets


def together(task, several):
    """Return the loss of the mean prediction of several networks."""
    outputs, targets = zip(*(outputs_of(task, weights) for weights in several), strict=True)
    return float(nll_loss(torch.stack(outputs).softmax(-1).mean(0).log(), targets[0]))


def row_of(task, ends, weight, arguments):
    """Train one volume; return its row of the table."""
    given = {"volume": weight, "budget": arguments.budget, "lr": 1e-2, "connectors": 2}
    found = train_connectors(ends, task, make_options(SimplexOptions, given, "simplex"))
    volume = complex_of(ends, [Vertex("a"), Vertex("b")], found)
    one, other = found.connectors
    squares = {name: (one[name] - other[name]).square() for name in found.coordinates}
    apart = sum(float(each.sum()) for each in squares.values())
    inputs = next(iter(task.train.batches(len(task.train))))[0].flatten(1)
    unused = float(squares[FIRST][:, (inputs == 0).all(0)].sum()) / apart
    drawn = [volume.at(volume.drawn(1, number)) for number in range(arguments.draws)]
    losses = [float(cross_entropy(*outputs_of(task, weights))) for weights in drawn]
    return (
        f"| {weight:g} | {volume.log_volume:.2f} | {apart**0.5:.1f} | {unused:.0%} "
        f"| {float(squares[FIRST].sum()) / apart:.0%} | {statistics.mean(losses):.4f} | {max(losses):.4f} "
        f"| {together(task, drawn[:TOGETHER]):.4f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--budget", default="400steps")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--volumes", type=float, nargs="+", default=[0, 1e-4, 1e-3, 1e-2, 0.1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = make_task(model=network, data="digits", device="cpu")
    for pair in zip(arguments.seeds[::2], arguments.seeds[1::2], strict=True):
        ends = [dict(weights_of(train(task, seed, arguments.epochs, 64))) for seed in pair]
        losses = [float(cross_entropy(*outputs_of(task, end))) for end in ends]
        print(
            f"seeds {pair}: ends {losses[0]:.4f} and {losses[1]:.4f}, their mean prediction {together(task, ends):.4f}"
        )
        print("| λ | log V | between connectors | unused pixels | first layer | mean | largest | mean prediction |")
        print("|---|---|---|---|---|---|---|---|")
        for weight in arguments.volumes:
            print(row_of(task, ends, weight, arguments), flush=True)


if __name__ == "__main__":
    main()
