"""A separability probe on a layer's features, against scikit-learn's LogisticRegression(lbfgs) at the same loss.

python benchmarks/separability_probe.py --data mnist.npz --checkpoint mlp.safetensors --depth 3

Without a checkpoint the features are those of an untrained network, which are hardly separable.
"""

import argparse
import pathlib
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import connectivity_hooks as ch
from connectivity_hooks.checking import load_model, observe
from connectivity_hooks_theorem.logistic import fit_logistic


def sklearn_at(loss, x, y, ridge):
    """Return the seconds, the loss and the iterations that scikit-learn needs to get as low as `loss`."""
    strength = 1 / (2 * ridge * len(x)) if ridge else 1e12
    iterations = 25
    while True:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=strength, tol=0, max_iter=iterations).fit(x, y)
        seconds = time.perf_counter() - started
        chances = model.predict_log_proba(x)[np.arange(len(y)), y]
        found = -float(chances.mean())
        if found <= loss * 1.02 or iterations >= 1600:
            return seconds, found, iterations
        iterations *= 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--checkpoint")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--layers", nargs="+", default=["2", "4", "6"])
    parser.add_argument("--ridge", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    network = pathlib.Path(__file__).parent / "networks.py"
    task = ch.make_task(model=f"{network}:mlp?depth={arguments.depth}", data=arguments.data, normalize="0.1307,0.3081")
    model = load_model(arguments.checkpoint, task) if arguments.checkpoint else task.model()
    observation = observe(model, task, layers=arguments.layers)
    for layer in arguments.layers:
        features, labels = observation.features(layer), observation.targets()
        subset = torch.arange(features.shape[1])[None]
        times = []
        for _ in range(arguments.repeats):
            started = time.perf_counter()
            fit = fit_logistic(features, labels, subset, ridge=arguments.ridge, loss_target=1e-5)
            times.append(time.perf_counter() - started)
        ours, loss = statistics.median(times), float(fit.loss[0])
        standard = ((features - features.mean(0)) / features.std(0, correction=0).clamp_min(1e-6)).numpy()
        theirs, their_loss, iterations = sklearn_at(loss, standard, labels.numpy(), arguments.ridge)
        print(
            f"layer {layer}, {tuple(features.shape)}: {ours:.2f} s, loss {loss:.2e}, {int(fit.errors[0])} errors, "
            f"{fit.iterations} iterations; scikit-learn {theirs:.1f} s, loss {their_loss:.2e}, {iterations}; "
            f"ratio {ours / theirs:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
