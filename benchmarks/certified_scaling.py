"""How the time of building a certified path grows with depth and with samples, between ends of benchmarks/certified.py.

python benchmarks/certified_scaling.py --data mnist.npz --ends runs/mlp{depth} --depths 2 5 10 20
"""

import argparse
import dataclasses
import pathlib
import time

import connectivity_hooks as ch

HERE = pathlib.Path(__file__).parent


def seconds(folder, spec, arguments, samples):
    """Return the seconds of one build on the first `samples` images, and the proven bound's ends."""
    task = ch.make_task(model=spec, data=arguments.data, normalize=arguments.normalize)
    task = dataclasses.replace(task, train=task.train.head(samples), test=None)
    started = time.perf_counter()
    ends = [f"{folder}/end{seed}.safetensors" for seed in (1, 2)]
    path = ch.connect(*ends, task, builder="certified", options={"effort": arguments.effort})
    return time.perf_counter() - started, len(path.positions)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--normalize", default="0.1307,0.3081")
    parser.add_argument("--ends", required=True, help="folder of the ends, with {depth} in it")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--samples", type=int, nargs="+", default=[15000, 30000, 60000])
    parser.add_argument("--width", type=int, default=245)
    parser.add_argument("--effort", default="normal")
    arguments = parser.parse_args()
    print("| depth | samples | seconds | points |\n|---|---|---|---|")
    cases = [(depth, max(arguments.samples)) for depth in arguments.depths]
    cases += [(arguments.depths[-2], samples) for samples in arguments.samples[:-1]]
    for depth, samples in cases:
        spec = f"{HERE / 'networks.py'}:mlp?depth={depth}&width={arguments.width}"
        taken, points = seconds(arguments.ends.format(depth=depth), spec, arguments, samples)
        print(f"| {depth} | {samples} | {taken:.1f} | {points} |", flush=True)


if __name__ == "__main__":
    main()
