"""Seconds and memory of reading a network's symmetries, measuring its groups, and matching two checkpoints by weights.

    python benchmarks/symmetries_cost.py resnet50 vit_base_patch16_224 --match resnet50

Beside plain passes of the same model in float64 on the same samples, timed in turn; two checkpoints of random weights.
"""

import argparse
import resource
import statistics
import time

import timm
import torch

from connectivity_hooks.model import forward
from connectivity_hooks.structure import measured, read_program, read_symmetries
from connectivity_hooks_alignment.matching.by_weights.weights import match_weights


def seconds_of(function):
    """Return what a function gives, and the seconds it took."""
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def most():
    """Return the largest memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made(name, seed=0):
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=1000).eval()


@torch.no_grad()
def passes(model, inputs, count=3):
    """Return the median seconds of a plain pass."""
    return statistics.median(seconds_of(lambda: forward(model, inputs))[1] for _ in range(count))


def symmetries(name):
    model = made(name)
    size = model.pretrained_cfg.get("input_size", (3, 224, 224))
    inputs = torch.randn(2, *size)
    program, reading = seconds_of(lambda: read_program(model, inputs))
    found, deriving = seconds_of(lambda: read_symmetries(program))
    model, inputs = model.double(), inputs.double()
    plain = passes(model, inputs)
    result, measuring = seconds_of(lambda: measured(found, model, inputs))
    again = passes(model, inputs)
    print(
        f"{name}: reading {reading:.1f} s, deriving {deriving:.2f} s, measuring {measuring:.1f} s; a plain pass of 2 "
        f"samples in float64 {plain:.2f} s before, {again:.2f} s after; coverage {result.symmetries.coverage:.1%}, "
        f"{len(result.refuted)} refuted, {most():.0f} MB",
        flush=True,
    )


def match(name):
    a, b = (made(name, seed).state_dict() for seed in (1, 2))
    found = read_symmetries(read_program(made(name), torch.randn(2, 3, 64, 64)))
    size = sum(tensor.nbytes for tensor in a.values()) / 2**20
    before = most()
    result, seconds = seconds_of(lambda: match_weights(found, a, b))
    print(
        f"{name}: weights matched in {seconds:.1f} s, {result.sweeps} sweeps, distance {result.before:.1f} to "
        f"{result.after:.1f}; {most() - before:.0f} MB more, a checkpoint has {size:.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["resnet50", "vit_base_patch16_224"], metavar="NAME")
    parser.add_argument("--match", nargs="*", default=["resnet50"], metavar="NAME", help="match two of these")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in arguments.match:
        match(name)
    for name in arguments.names:
        symmetries(name)


if __name__ == "__main__":
    main()
