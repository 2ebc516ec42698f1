"""Two MLPs trained on MNIST with the hooks on, then ``connect`` linear: barrier and seconds.

Prints the training time, the barrier as ``connect`` reports it, and its wall-clock seconds as a whole process.

    python benchmarks/mnist_linear.py --data mnist.npz --out runs/mnist
"""

import argparse
import json
import pathlib
import subprocess
import time

import torch

import connectivity_hooks as ch

SPEC = "{file}:mlp?depth={depth}&width={width}"


def train(task, seed, epochs):
    torch.manual_seed(seed)
    model = task.factory()
    x = torch.cat([inputs for inputs, _ in task.train.batches(4096)])
    y = task.train.targets()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    steps = epochs * (len(x) // 250)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    with ch.capture(model, every=100) as features:
        for _ in range(epochs):
            for batch in torch.randperm(len(x))[: len(x) // 250 * 250].split(250):
                loss = task.loss(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        shapes = {name: tuple(features[name].shape) for name in features}
    return model.eval(), shapes


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--width", type=int, default=245)
    parser.add_argument("--epochs", type=int, default=14)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    network = pathlib.Path(__file__).parent / "networks.py"
    model = SPEC.format(file=network, depth=arguments.depth, width=arguments.width)
    task = ch.make_task(model=model, data=arguments.data, normalize="0.1307,0.3081")
    files = []
    for seed in (1, 2):
        started = time.perf_counter()
        trained, shapes = train(task, seed, arguments.epochs)
        files.append(str(arguments.out / f"{seed}.safetensors"))
        ch.save(trained, files[-1])
        print(f"trained seed {seed} in {time.perf_counter() - started:.1f} s, hooks saw {shapes}", flush=True)
    command = [
        "connect",
        *files,
        "--model",
        model,
        "--data",
        arguments.data,
        "--normalize",
        "0.1307,0.3081",
        "--json",
    ]
    started = time.perf_counter()
    done = subprocess.run([*command, "--out", str(arguments.out / "report")], check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - started
    linear = json.loads(done.stdout)["builders"]["linear"]
    for split in ("train", "test"):
        figures = linear[split]
        print(
            f"{split}: loss {figures['loss_ends'][0]:.4g}, {figures['loss_ends'][1]:.4g} at the ends, "
            f"max {figures['loss_max']:.4g}, barrier {figures['barrier_entezari']:.4g} "
            f"± {figures['barrier_interval']:.2g} at t = {figures['worst_t']:.3f}, "
            f"error max {figures['error_max']:.4f} (ends {figures['error_ends']})"
        )
    print(f"connect as a whole process: {seconds:.1f} s, of which evaluation {linear['evaluation_seconds']:.1f} s")


if __name__ == "__main__":
    main()
