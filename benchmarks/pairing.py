"""Timing two things in turn, A B A B …, so that a machine whose speed drifts does not decide the comparison."""

import statistics
import time

import torch


def seconds(function):
    """Return how long one call takes, the device's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def paired(ours, baseline, repeats):
    """Run both in turn after a warm-up of each; return medians of both and of the ratio ours/baseline."""
    ours()
    baseline()
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(repeats)]
    median = statistics.median
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)
