"""MLPs on MNIST: ensembles along the line and along a Bezier curve, beside one network, a mean of weights, and others.

Networks are trained on the first 50 000 samples; temperatures are fitted on the other 10 000, which none has seen. One
table: test error, log-likelihood, ECE before and after the temperature, and diversity.

    python benchmarks/ensemble.py --data mnist.npz --out runs/ensemble
"""

import argparse
import pathlib
import time

from training import train

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit

HERE = pathlib.Path(__file__).parent
TRAINED = 50_000


def tasks(data, width):
    """Return the task that networks are trained on, and the one they are measured on."""
    whole = ch.make_task(
        model=f"{HERE / 'networks.py'}:mlp?depth=2&width={width}", data=data, normalize="0.1307,0.3081"
    )
    inputs, targets = whole.train.inputs, whole.train.targets()
    first, rest = (CachedSplit("train", inputs[part], targets[part]) for part in (slice(TRAINED), slice(TRAINED, None)))
    return whole.on(first, whole.test), whole.on(rest, whole.test)


def trained(task, seeds, epochs, folder):
    """Return the files of networks, trained if they are not there."""
    files = [folder / f"{seed}.safetensors" for seed in seeds]
    for seed, file in zip(seeds, files, strict=True):
        if not file.exists():
            ch.save(train(task, seed, epochs), file)
    return files


def paths(task, files, steps):
    """Yield the name of each path between the first two networks, and the path."""
    yield "line", ch.connect(*files[:2], task)
    yield "bezier", ch.connect(*files[:2], task, builder="bezier", budget=f"{steps}steps")


def line(where, row):
    """Return a row of the table."""
    plain, tempered, apart = row.plain, row.tempered or {}, row.diversity or {}
    cells = [
        f"{100 * (1 - plain['accuracy']):.2f} %",
        f"{plain['log_likelihood']:.4f}",
        f"{100 * plain['ece']:.2f} %",
        "–" if row.temperature is None else f"{row.temperature:.2f}",
        f"{tempered.get('log_likelihood') or float('nan'):.4f}",
        f"{100 * (tempered.get('ece') or float('nan')):.2f} %",
        f"{100 * apart['disagreement']:.2f} %" if apart else "–",
        f"{apart['kl']:.3f}" if apart else "–",
    ]
    return f"| {where} | {' | '.join(cells)} |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=800, help="that train the curve; one network takes 200 an epoch")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    seen, unseen = tasks(given.data, given.width)
    started = time.perf_counter()
    files = trained(seen, range(5), given.epochs, given.out)
    found = {}
    for name, path in paths(seen, files, given.steps):
        for points in (5, 10):
            print(f"{name}, {points} points, after {time.perf_counter() - started:.0f} s", flush=True)
            found[name, points] = ch.ensemble(path, unseen, points=points, beside=files, hold_out=0.999)
    print("\n| | error | log-likelihood | ECE | T | log-likelihood at T | ECE at T | disagreement | KL |")
    print("|---|---|---|---|---|---|---|---|---|")
    one = found["line", 5]
    for name in ("A", "B", "ensemble of A and B", f"ensemble of {len(files)} beside"):
        print(line({"ensemble of 5 beside": "5 independent networks"}.get(name, name), one[name]))
    for (name, points), each in found.items():
        print(line(f"mean of weights, {points} points of the {name}", each["mean of weights"]))
        print(line(f"ensemble of {points} points of the {name}", each.whole))


if __name__ == "__main__":
    main()
