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
from connectivity_hooks_theorem.probes.logistic import fit_logistic


def objective(weight, bias, x, y, ridge):
    """Return mean cross-entropy + ridge·‖W‖² on standardised features, in float64."""
    logits = x.astype(np.float64) @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(y))
    return float(loss) + ridge * float(np.square(weight).sum())


def sklearn_at(target, x, y, ridge):
    """Return the seconds, the objective and the iterations that scikit-learn needs to get as low as `target`."""
    strength = 1 / (2 * ridge * len(x)) if ridge else 1e12
    iterations = 8
    while True:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=strength, tol=0, max_iter=iterations).fit(x, y)
        seconds = time.perf_counter() - started
        found = objective(model.coef_, model.intercept_, x, y, ridge)
        if found <= target * 1.0005 or iterations >= 1000:
            return seconds, found, iterations
        iterations = iterations * 5 // 4


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
        ours = statistics.median(times)
        mean, scale = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
        standard, labels_there = ((features - mean) / scale).numpy(), labels.numpy()
        weight = (fit.weight[0] * scale).double().numpy()
        bias = (fit.bias[0].double() + fit.weight[0].double() @ mean.double()).numpy()
        reached = objective(weight, bias, standard, labels_there, arguments.ridge)
        theirs, their_objective, iterations = sklearn_at(reached, standard, labels_there, arguments.ridge)
        print(
            f"layer {layer}, {tuple(features.shape)}: "
            f"{ours:.2f} s, objective {reached:.3e}, {int(fit.errors[0])} errors, "
            f"{fit.iterations} steps; scikit-learn {theirs:.1f} s, {their_objective:.3e}, {iterations}; "
            f"ratio {ours / theirs:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
