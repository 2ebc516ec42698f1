"""How time and memory of building a certified path grow with depth and with samples, between ends of certified.py.

python benchmarks/certified_scaling.py --data mnist.npz --ends runs/mlp{depth} --depths 2 5 10 20
python benchmarks/certified_scaling.py --data mnist.npz --ends runs/res{depth} --depths 2 4 8 --samples 60000 \
    --network "residual?blocks={depth}" --width 160
"""

import argparse
import contextlib
import dataclasses
import pathlib
import threading
import time

import psutil

import connectivity_hooks as ch

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def peak_memory():
    """Yield a list that holds, after the block, the largest growth of the process's memory during it, in bytes."""
    process, found, done = psutil.Process(), [], threading.Event()
    before = largest = process.memory_info().rss

    def look():
        nonlocal largest
        while not done.wait(0.02):
            largest = max(largest, process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found.append(largest - before)


def measured(depth, arguments, samples):
    """Return seconds and points of one build on the first `samples` images, and its memory in layers of features."""
    spec = f"{HERE / 'networks.py'}:{arguments.network.format(depth=depth)}"
    folder = arguments.ends.format(depth=depth)
    task = ch.make_task(model=spec, data=arguments.data, normalize=arguments.normalize)
    task = dataclasses.replace(task, train=task.train.head(samples), test=None)
    started = time.perf_counter()
    ends = [f"{folder}/end{seed}.safetensors" for seed in (1, 2)]
    with peak_memory() as grown:
        path = ch.connect(*ends, task, builder="certified", options={"effort": arguments.effort})
    return time.perf_counter() - started, len(path.positions), grown[0] / (4 * samples * arguments.width)


def draw(file, curves):
    """Write a plot of seconds over depth and over samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, places = plt.subplots(1, 2, figsize=(7.2, 2.8), layout="constrained", sharey=True)
    for axes, (name, points) in zip(places, curves.items(), strict=True):
        axes.plot(*zip(*sorted(points), strict=True), marker="o")
        axes.set(xlabel=name, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    places[0].set_ylabel("seconds")
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--normalize", default="0.1307,0.3081")
    parser.add_argument("--network", default="mlp?depth={depth}&width=245", help="of networks.py, with {depth} in it")
    parser.add_argument("--ends", required=True, help="folder of the ends, with {depth} in it")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--samples", type=int, nargs="+", default=[15000, 30000, 60000])
    parser.add_argument("--width", type=int, default=245, help="of a layer, the unit of memory")
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--plot", help="write an SVG here")
    arguments = parser.parse_args()
    measured(min(arguments.depths), arguments, 1000)  # what is imported and cached once is no feature
    print("| depth | samples | seconds | points | memory, layers of features |\n|---|---|---|---|---|")
    cases = [(depth, max(arguments.samples)) for depth in arguments.depths]
    cases += [(arguments.depths[-2], samples) for samples in arguments.samples[:-1]]
    curves = {"hidden layers": [], "thousand samples": []}
    for depth, samples in cases:
        taken, points, memory = measured(depth, arguments, samples)
        print(f"| {depth} | {samples} | {taken:.1f} | {points} | {memory:.1f} |", flush=True)
        if samples == max(arguments.samples):
            curves["hidden layers"].append((depth, taken))
        if depth == arguments.depths[-2]:
            curves["thousand samples"].append((samples / 1000, taken))
    if arguments.plot:
        draw(arguments.plot, curves)


if __name__ == "__main__":
    main()
