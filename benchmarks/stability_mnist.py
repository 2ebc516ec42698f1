"""From which step on do copies of a training on MNIST end in one linearly connected region (Frankle et al. 2020)?

Trains one network to the last k, saving its state on the way, then copies of every state with other data orders, and
runs ``connectivity-hooks stability`` as a whole process on what lies in the folder. Run again, it goes on where it
stopped.

    python benchmarks/stability_mnist.py --data mnist.npz --out runs/stability --network "mlp?depth=2&width=100"
"""

import argparse
import pathlib
import subprocess
import time

import torch

import connectivity_hooks as ch

BATCH = 125


def build(task, lr, steps):
    model = task.factory().train()
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    return model, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)


def batches(x, y, generator):
    while True:
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            yield x[batch], y[batch]


def step(task, parts, x, y):
    model, optimizer, scheduler = parts
    loss = task.loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()


def begin(task, runs, x, y, arguments):
    """Train to the last k and save the state at each."""
    torch.manual_seed(0)
    model, optimizer, scheduler = parts = build(task, arguments.lr, arguments.steps)
    order = torch.Generator().manual_seed(0)
    for number, batch in zip(range(max(arguments.k) + 1), batches(x, y, order), strict=False):
        if number in arguments.k:
            ch.save_start(runs, number, model, optimizer=optimizer, scheduler=scheduler)
        step(task, parts, *batch)


def finish(task, copy, x, y, arguments):
    """Train a copy to the end."""
    model, optimizer, scheduler = parts = build(task, arguments.lr, arguments.steps)
    copy.restore(model, optimizer=optimizer, scheduler=scheduler)
    for _, batch in zip(range(copy.step, arguments.steps), batches(x, y, copy.generator), strict=False):
        step(task, parts, *batch)
    copy.save(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--network", default="mlp?depth=2&width=100")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--k", type=int, nargs="+", default=[0, 10, 30, 100, 300, 1000])
    parser.add_argument("--correct", nargs="+", default=["none"], help="none, batch-norm, or both")
    parser.add_argument("--points", type=int, default=13)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    model = f"{pathlib.Path(__file__).parent / 'networks.py'}:{arguments.network}"
    task = ch.make_task(model=model, data=arguments.data, normalize="0.1307,0.3081")
    x, y = torch.cat([inputs for inputs, _ in task.train.batches(4096)]), task.train.targets()
    runs = arguments.out / "runs"
    started = time.perf_counter()
    begin(task, runs, x, y, arguments)
    for copy in ch.copies(runs, seeds=arguments.seeds):
        finish(task, copy, x, y, arguments)
        print(f"{copy}: {time.perf_counter() - started:.1f} s since the start", flush=True)

    words = ["--model", model, "--data", arguments.data, "--normalize", "0.1307,0.3081"]
    words += ["--points", str(arguments.points), "--refine", "1"]
    for kind in arguments.correct:
        started = time.perf_counter()
        out = ["--correct", kind, "--out", str(arguments.out / f"report-{kind}")]
        subprocess.run(["connectivity-hooks", "stability", str(runs), *words, *out], check=True)
        print(f"stability as a whole process: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
