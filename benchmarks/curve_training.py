"""What a step of curve training costs beside a plain training step of the same model, batch, precision and optimizer.

Ten steps of a curve, then ten plain ones, and so on, A B A B …; so each finds its own weights in the caches, as it does
when it trains alone. Both draw their batches; the plain step clips nothing. Ratios are of the time on the clock and of
the processor's, which other work on the machine disturbs less.

    python benchmarks/curve_training.py --networks mlp vit --steps 100
    python benchmarks/curve_training.py --networks resnet18 --steps 40
"""

import argparse
import contextlib
import itertools
import statistics
import time

import torch

from connectivity_hooks.contracts import make_options
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks_curves.bezier import Bezier, Polychain


def mlp():
    from networks import mlp

    return mlp(depth=4, width=200)


def vit():
    """Return timm's vision transformer of 3 blocks of 64, for images 1×28×28 in 16 patches."""
    from timm.models.vision_transformer import VisionTransformer

    image = {"img_size": 28, "patch_size": 7, "in_chans": 1, "num_classes": 10}
    return VisionTransformer(**image, embed_dim=64, depth=3, num_heads=4, mlp_ratio=2.0)


def resnet18():
    import timm

    return timm.create_model("resnet18", num_classes=10)


BLOCK = 10

NETWORKS = {"mlp": (mlp, (1, 28, 28)), "vit": (vit, (1, 28, 28)), "resnet18": (resnet18, (3, 32, 32))}


class InTurn:
    """A display that takes a plain step after each step of the curve, and times both.

    Args:
        task: Model, data and loss.
        coarse: Whether passes are in bfloat16.
        batch: Samples of a step.
    """

    def __init__(self, task, coarse, batch):
        self.task, self.coarse = task, coarse
        self.batches = (drawn for epoch in itertools.count() for drawn in task.train.shuffled(batch, 0, epoch=epoch))
        self.model = task.model().train()
        fused = task.device.type in ("cpu", "cuda")
        self.adam = torch.optim.Adam(self.model.parameters(), 1e-3, fused=fused)
        self.pairs = []

    def track(self, items, label, total=None):
        """Yield `items`."""
        count, started = 0, self.now()
        for item in items:
            yield item
            count += 1
            if count == BLOCK:
                between = self.now()
                for _ in range(BLOCK):
                    self.step(next(self.batches))
                self.pairs.append(((between - started) / BLOCK, (self.now() - between) / BLOCK))
                count, started = 0, self.now()

    def say(self, message):
        """Print a line."""
        print(message)

    def step(self, drawn):
        """Take a plain step."""
        self.adam.zero_grad()
        precision = torch.autocast(self.task.device.type, torch.bfloat16) if self.coarse else contextlib.nullcontext()
        with precision:
            outputs = self.task.forward(self.model, drawn.inputs)
        self.task.loss(outputs.float(), drawn.targets).backward()
        self.adam.step()

    def now(self):
        """Return the seconds on the clock and the processor's."""
        if self.task.device.type == "cuda":
            torch.cuda.synchronize()
        return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


def made(name, batch, steps, device):
    """Return a task of random data, as many batches as steps."""
    factory, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch * min(steps, 8), *shape, generator=generator)
    y = torch.randint(0, 10, (len(x),), generator=generator)
    return Task(factory, CachedSplit("train", x.to(device), y.to(device)), device=torch.device(device))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--builder", default="bezier", choices=["bezier", "polychain"])
    parser.add_argument("--bends", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100, help="of each kind")
    parser.add_argument("--precision", default="full", choices=["full", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    builder = {"bezier": Bezier, "polychain": Polychain}[arguments.builder]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.device}, {arguments.precision}")
    for name in arguments.networks:
        task = made(name, arguments.batch, arguments.steps, arguments.device)
        ends = [task.factory().to(task.device).state_dict() for _ in range(2)]
        options = {"budget": f"{arguments.steps}steps", "batch_size": arguments.batch, "bends": arguments.bends}
        options = make_options(builder.Options, {**options, "precision": arguments.precision}, builder.name)
        display = InTurn(task, arguments.precision == "bfloat16", arguments.batch)
        builder(options, progress=display).build(*ends, task)
        pairs = [(ours.tolist(), plain.tolist()) for ours, plain in display.pairs[1:]]  # the first allocate
        parameters = sum(parameter.numel() for parameter in display.model.parameters())
        found = []
        for clock in (0, 1):
            ours, plain = (statistics.median(pair[which][clock] for pair in pairs) for which in (0, 1))
            ratio = statistics.median(pair[0][clock] / pair[1][clock] for pair in pairs)
            found.append(f"{1e3 * ours:.1f} ms against {1e3 * plain:.1f} ms, ratio {ratio:.3f}")
        print(f"{name}, {parameters} parameters, batch {arguments.batch}: clock {found[0]}; processor {found[1]}")


if __name__ == "__main__":
    main()
