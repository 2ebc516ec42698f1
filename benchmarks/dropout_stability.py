"""Dropout stability that goes on from each layer, against whole passes for every layer and draw, in one run.

python benchmarks/dropout_stability.py --model timm:legacy_xception --size 96 --samples 32

Prints the seconds of both ways, the seconds of one pass over the data, and the largest difference of their figures.
"""

import argparse
import time

import torch

from connectivity_hooks.checking import observe
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks_theorem.conditions.dropout_stability import DropoutStability
from connectivity_hooks_theorem.conditions.outputs import outputs_under
from connectivity_hooks_theorem.conditions.prefixes import outputs_of_each


def timed(function):
    """Return what a function gives and the seconds it took."""
    started = time.perf_counter()
    given = function()
    return given, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="timm:legacy_xception")
    parser.add_argument("--size", type=int, default=96, help="Height and width of the random images.")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="Both ways in turn; the fastest of each counts.")
    parser.add_argument("--layers", nargs="+", help="Names or globs; none: those that check takes.")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = model_factory(arguments.model)().eval()
    images = torch.randn(arguments.samples, 3, arguments.size, arguments.size)
    labels = torch.arange(arguments.samples) % 2
    observation = observe(model, Task(lambda: model, CachedSplit("train", images, labels)), layers=arguments.layers)
    condition = DropoutStability(DropoutStability.Options(draws=arguments.draws))
    questions = condition._questions(observation)

    def shared():
        answers = outputs_of_each(observation, questions, arguments.draws, 1 << 20)
        return {each.layer: each.outputs for each in answers}

    def whole():
        return {layer: outputs_under(observation, masks, arguments.draws)[0] for layer, masks in questions.items()}

    _, one = timed(lambda: outputs_under(observation, {}, 1))
    runs = [(timed(whole), timed(shared)) for _ in range(arguments.repeats)]
    (expected, _), (found, _) = runs[0]
    plain, seconds = (min(run[way][1] for run in runs) for way in (0, 1))
    scale = max(float(outputs.abs().max()) for outputs in expected.values())
    apart = max(float((found[layer] - expected[layer]).abs().max()) for layer in expected)
    print(f"{arguments.model}: {len(questions)} layers, {arguments.draws} draws, {arguments.samples} samples")
    print(f"one pass {one:.2f} s, whole passes {plain:.2f} s, from each layer on {seconds:.2f} s")
    print(f"ratio {seconds / plain:.2f}; outputs differ by {apart / scale:.1e} of the largest at most")


if __name__ == "__main__":
    main()
