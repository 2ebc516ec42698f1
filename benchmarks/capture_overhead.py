"""What the hooks cost: all default layers of a timm resnet18 on every 10th batch of a training loop, against none.

python benchmarks/capture_overhead.py --batches 20 --repeats 5
"""

import argparse

import timm
import torch
from pairing import paired

import connectivity_hooks as ch
from connectivity_hooks.features.select import default_layers


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    model = timm.create_model("resnet18", num_classes=10).to(arguments.device).train()
    layers = default_layers(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    x = torch.randn(64, 3, 32, 32, device=arguments.device)
    y = torch.randint(0, 10, (64,), device=arguments.device)

    def epoch():
        for _ in range(arguments.batches):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    def hooked():
        with ch.capture(model, layers, every=10):
            epoch()

    with_hooks, without, ratio = paired(hooked, epoch, arguments.repeats)
    print(
        f"resnet18, {len(layers)} layers, {arguments.batches} batches, {arguments.device}: {with_hooks:.2f} s hooked, "
        f"{without:.2f} s without, ratio {ratio:.3f} (medians of {arguments.repeats} pairs)"
    )


if __name__ == "__main__":
    main()
