"""Curves between networks of Garipov et al. (2018) on CIFAR-10: the line beside a Bezier curve with one bend.

Trains two ends and keeps them in --out, so that a run that was cut short goes on; then connects them by `ch.connect`
and measures train loss and test error at --points t by `ch.evaluate`, batch norm measured anew at each. For a GPU.

    python benchmarks/garipov.py --network vgg16 --data cifar10_jpeg.safetensors --out runs/vgg16
    python benchmarks/garipov.py --network preresnet --data … --out runs/preresnet --ends-only     # and then
    python benchmarks/garipov.py --network preresnet --data … --out runs/preresnet
    python benchmarks/garipov.py --network "preresnet?depth=11" --data … --out runs/trial --train 512 --test 256 \
        --epochs 1 --curve-epochs 1 --batch-size 64 --device cpu                                   # does it run?
"""

import argparse
import itertools
import pathlib
import time
from dataclasses import replace

import torch
from image_training import error_of, train_images
from measured_paths import NONE, Results, measured

import connectivity_hooks as ch

HERE = pathlib.Path(__file__).parent
# The rate of SGD at its largest for a batch of 512, and the weight decay, which the paper has of ends and of curves.
HOW = {"vgg16": {"peak": 0.2, "weight_decay": 5e-4}, "preresnet": {"peak": 0.4, "weight_decay": 3e-4}}


def made_task(arguments):
    """Return the task; what is trained by a builder sees random crops, mirrored or not."""
    data = f"{HERE / 'cifar10.py'}:splits?file={arguments.data}&train={arguments.train}&test={arguments.test}"
    model = f"{HERE / 'garipov_networks.py'}:{arguments.network}"
    return ch.make_task(model=model, data=data, augment="crop-flip", batch_size=1000, device=arguments.device)


def ends_of(task, arguments, how):
    """Return the files of two ends, trained if they are not there."""
    files = [arguments.out / f"{seed}.safetensors" for seed in arguments.seeds]
    for seed, file in zip(arguments.seeds, files, strict=True):
        if not file.exists():
            started = time.perf_counter()
            how |= {"square": arguments.square, "seconds": arguments.seconds}
            model = train_images(task, seed, arguments.epochs, arguments.batch_size, say=say, **how)
            ch.save(model, file)
            wrong = error_of(model, task.test)
            say(f"seed {seed}: test error {100 * wrong:.2f} %, {time.perf_counter() - started:.1f} s")
    return files


class Said:
    """A display of one line now and then: the loss of a curve while it is trained."""

    def track(self, items, label, total=None):
        """Yield `items`."""
        for count, item in enumerate(items):
            if callable(label) and count % 500 == 499:
                say(f"step {count + 1} of {total}: {label()}")
            yield item

    def say(self, message):
        """Print a line."""
        say(message)


def say(message):
    """Print a line now."""
    print(message, flush=True)


def row_of(found):
    """Return a line of the table."""
    ends = ", ".join(f"{100 * error:.2f} %" for error in found["test_error_ends"])
    return (
        f"| {found['network']} | {found['align']} | {found['builder']} | {max(found['train_loss_ends']):.4f} "
        f"| {found['train_loss_max']:.4f} | {ends} | **{100 * found['test_error_max']:.2f} %** "
        f"| {found['test_error_t']:.2f} | {found['built_s']:.0f} | {found['measured_s']:.0f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="vgg16", help="a function of garipov_networks.py with arguments")
    parser.add_argument("--data", required=True, help="cifar10_jpeg.safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="one alone, with --ends-only, is trained")
    parser.add_argument("--epochs", type=int, default=60, help="of an end")
    parser.add_argument("--seconds", type=float, help="of an end: fewer epochs, if they take longer")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--peak", type=float, help="largest rate of an end's training")
    parser.add_argument("--weight-decay", type=float, help="of ends")
    parser.add_argument("--square", type=int, default=8, help="width of the square cut out of an end's images; 0: none")
    parser.add_argument("--ends-only", action="store_true")
    parser.add_argument("--align", nargs="+", default=[NONE])
    parser.add_argument("--builders", nargs="+", default=["linear", "bezier"])
    parser.add_argument("--curve-epochs", type=int, default=40)
    parser.add_argument("--curve-lr", type=float, default=3e-3)
    parser.add_argument("--curve-weight-decay", type=float, help="as that of the ends if not given")
    parser.add_argument("--bends", type=int, default=1)
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--train", type=int, default=50000)
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--samples", type=int, default=10000, help="of the training split that paths are measured on")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True  # few shapes, each many times
    task = made_task(arguments)
    how = dict(HOW[arguments.network.partition("?")[0]])
    how |= {name: value for name in how if (value := getattr(arguments, name)) is not None}
    say(f"torch {torch.__version__}, {device_of(task)}, {how}, {arguments.epochs} epochs an end")
    files = ends_of(task, arguments, dict(how))
    if not arguments.ends_only:
        connect_all(files, task, arguments, how)


def connect_all(files, task, arguments, how):
    """Build and measure all paths that are not in results.json yet, and print the table."""
    decay = how["weight_decay"] if arguments.curve_weight_decay is None else arguments.curve_weight_decay
    trained = {
        "budget": f"{arguments.curve_epochs}epochs",
        "batch_size": arguments.batch_size,
        "bends": arguments.bends,
    }
    trained |= {"lr": arguments.curve_lr, "weight_decay": decay}
    trained |= {"precision": "bfloat16" if task.device.type == "cuda" else "full"}
    part = replace(task, train=task.train.sample(min(arguments.samples, len(task.train)), 0))
    results = Results(arguments.out / "results.json")
    kept = {"correct": "batch-norm", "points": arguments.points, "keep": arguments.out / "work", "progress": Said()}
    for align, builder in itertools.product(arguments.align, arguments.builders):
        key = {"network": arguments.network, "align": align, "builder": builder}
        key["options"] = {} if builder == "linear" else trained
        how = {"builder": builder, "options": key["options"], "align": align}
        say(row_of(results.row(key, lambda how=how: measured(files, task, part, **how, **kept))))
    heads = "network | align | builder | train loss: ends | largest | test error: ends | largest | at t"
    print(f"\n| {heads} | built, s | measured, s |\n{'|---' * 10}|")
    for row in results.rows:
        print(row_of(row))


def device_of(task):
    """Return the name of the device."""
    return torch.cuda.get_device_name(task.device) if task.device.type == "cuda" else str(task.device)


if __name__ == "__main__":
    main()
