"""Two networks trained on MNIST or CIFAR-10, and the certified path between them: bound, errors on the way, seconds.

Ends are trained once and kept in --out. Beside the path stands what a straight line costs.

    python benchmarks/certified.py --network "mlp?depth=10" --data mnist.npz --out runs/mlp10
    python benchmarks/certified.py --network vgg --data cifar10_jpeg.safetensors --out runs/vgg
"""

import argparse
import json
import pathlib
import subprocess
import time

from training import train

import connectivity_hooks as ch

HERE = pathlib.Path(__file__).parent


def ends(task, arguments):
    """Return the files of two ends, trained now where they are not there yet."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = [arguments.out / f"end{seed}.safetensors" for seed in (1, 2)]
    for seed, file in enumerate(files, start=1):
        if not file.exists():
            started = time.perf_counter()
            ch.save(train(task, seed, arguments.epochs, arguments.batch_size, arguments.peak), file)
            print(f"trained end {seed} in {time.perf_counter() - started:.0f} s", flush=True)
    return [str(file) for file in files]


def connect(files, spec, extra):
    """Run ``connect`` as its user would, and return its JSON."""
    command = ["connect", *files, *spec, "--json", *extra]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["builders"]


def describe(name, figures):
    """Print one builder's figures."""
    for split in ("train", "test"):
        one, bound = figures[split], figures["bound"][split]
        proven = "none proven" if bound is None else f"{bound:.4g}"
        print(
            f"{name} {split}: loss at the ends {one['loss_ends'][0]:.4g}, {one['loss_ends'][1]:.4g}, max "
            f"{one['loss_max']:.4g}, bound {proven}; error at the ends {one['error_ends'][0]:.4f}, "
            f"{one['error_ends'][1]:.4f}, max {one['error_max']:.4f}"
        )
    print(f"{name}: built and measured in {figures['seconds']:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="mlp?depth=10", help="a function of networks.py with arguments")
    parser.add_argument("--data", required=True, help="mnist.npz or cifar10_jpeg.safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--train", type=int, default=10000, help="CIFAR-10 images to train on")
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--augment", help="augmentation for the training of sub-networks; ends are trained without")
    arguments = parser.parse_args()
    spec = ["--model", f"{HERE / 'networks.py'}:{arguments.network}"]
    if arguments.data.endswith(".npz"):
        spec += ["--data", arguments.data, "--normalize", "0.1307,0.3081"]
        task = ch.make_task(model=spec[1], data=spec[3], normalize=spec[5])
    else:
        spec += ["--data", f"{HERE / 'cifar10.py'}:splits?file={arguments.data}&train={arguments.train}&test=10000"]
        task = ch.make_task(model=spec[1], data=spec[3])
    files = ends(task, arguments)
    options = ["--certified.effort", arguments.effort, "--seed", arguments.seed, "--out", str(arguments.out / "report")]
    if arguments.augment:
        options += ["--augment", arguments.augment]
    started = time.perf_counter()
    built = connect(files, [*spec, "--builder", "linear", "--builder", "certified"], options)
    taken = time.perf_counter() - started
    for name, figures in built.items():
        describe(name, figures)
    print(f"both as a whole process: {taken:.1f} s")
    file = arguments.out / "report" / "certified.path.safetensors"
    sizes = [one.stat().st_size / 1e6 for one in (file, pathlib.Path(files[0]))]
    print(f"{len(ch.Path.load(file).positions)} points take {sizes[0]:.1f} MB, an end {sizes[1]:.1f} MB")


if __name__ == "__main__":
    main()
