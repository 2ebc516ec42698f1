"""Two timm resnet18 trained on CIFAR-10 with the hooks on, connected linearly, batch norm as stored and re-estimated.

python benchmarks/cifar_resnet18.py --data cifar10_jpeg.safetensors --out runs/cifar
"""

import argparse
import json
import pathlib
import subprocess
import time

import torch

import connectivity_hooks as ch

MODEL = "timm:resnet18?num_classes=10"


def train(task, seed, epochs):
    torch.manual_seed(seed)
    model = task.factory()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    x = torch.cat([inputs for inputs, _ in task.train.batches(1000)])
    y = task.train.targets()
    with ch.capture(model, every=10) as features:
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(64):
                loss = task.loss(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        fired = len(features)
    return model.eval(), fired


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="cifar10_jpeg.safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    script = pathlib.Path(__file__).parent / "cifar10.py"
    data = f"{script}:splits?file={arguments.data}&train={arguments.train}&test={arguments.test}"
    task = ch.make_task(model=MODEL, data=data)
    files = []
    for seed in (1, 2):
        started = time.perf_counter()
        model, fired = train(task, seed, arguments.epochs)
        files.append(str(arguments.out / f"{seed}.safetensors"))
        ch.save(model, files[-1], task=MODEL)
        print(
            f"trained seed {seed} in {time.perf_counter() - started:.0f} s; {fired} layers captured",
            flush=True,
        )
    for correction in ("none", "batch-norm"):
        command = [
            "connect",
            *files,
            "--data",
            data,
            "--correct",
            correction,
            "--points",
            "11",
            "--refine",
            "2",
        ]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--json", "--out", str(arguments.out / correction)], check=True, stdout=subprocess.PIPE
        )
        report(correction, json.loads(done.stdout)["builders"]["linear"], time.perf_counter() - started)


def report(correction, linear, seconds):
    print(f"correction {correction}: connect took {seconds:.0f} s")
    for split in ("train", "test"):
        figures = linear[split]
        print(
            f"  {split}: loss {figures['loss_ends'][0]:.4g}, {figures['loss_ends'][1]:.4g} at the ends, "
            f"max {figures['loss_max']:.4g}, barrier {figures['barrier_entezari']:.4g}, "
            f"error max {figures['error_max']:.3f} (ends {figures['error_ends']})"
        )


if __name__ == "__main__":
    main()
