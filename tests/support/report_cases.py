"""Small paths with a known answer, one for every kind of answer: what `evaluate` finds, and how it must be said.

Most use `Product`, whose output for a sample (a, b) is u·v·a + b. From u = v = 3 to u = v = -3 the straight line takes
u·v from 9 down to 0 and back, so a and b say by hand what the network does at the ends and in the middle.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from connectivity_hooks.cost import Cost
from connectivity_hooks.evaluation import Evaluation, evaluate
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task, custom_loss

LONG = "a-builder-whose-author-could-not-decide-on-a-shorter-name-and-so-went-on-and-on"


@dataclass(frozen=True)
class Case:
    """A path to evaluate.

    Attributes:
        make: Returns the evaluations of one report.
        verdict: Of the first of them.
        says: What its headline holds.
        adds: What one of its sentences holds.
    """

    make: Callable[[], list[Evaluation]]
    verdict: str
    says: str
    adds: str = ""


class Product(nn.Module):
    """One logit, or one value, u·v·a + b of a sample (a, b)."""

    def __init__(self):
        super().__init__()
        self.u, self.v = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return (self.u * self.v * x[:, 0] + x[:, 1])[:, None]


class Logarithm(nn.Module):
    """A value that is infinite where its only weight is 0."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return x + (self.w**2).log()


def split(name, a, b, targets, count=600):
    """Return a split of `count` samples (a, b), which are numbers or one for each sample."""
    a, b, targets = (torch.as_tensor(value, dtype=torch.float32).expand(count) for value in (a, b, targets))
    return CachedSplit(name, torch.stack([a, b], 1), targets[:, None].clone())


def half(count=600):
    """Return targets of which every other is 1."""
    return torch.arange(count) % 2


def product(train, test=None, loss="bce", ends=((3.0, 3.0), (-3.0, -3.0)), **how):
    """Evaluate the straight line between two pairs of u and v."""
    task = Task(Product, train, test, LOSSES[loss] if isinstance(loss, str) else loss, data_name="by hand")
    knots = [{"u": torch.tensor(u), "v": torch.tensor(v)} for u, v in ends]
    return [line(knots, task, **how)]


def line(knots, task, builder="linear", guarantees=None, **how):
    path = Path.from_points(knots, guarantees=guarantees)
    return evaluate(replace(path, builder=builder), task, **how)


def logits(right, count=600):
    """Return logits that are right by so much for every other target 1."""
    return torch.as_tensor(right, dtype=torch.float32).expand(count) * (2.0 * half(count) - 1)


def blobs(count, seed, classes=3, noise=0.8):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    centres = 2 * torch.eye(classes, 6)
    return centres[y] + noise * torch.randn(count, 6, generator=generator), y


def classifier(norm=False):
    parts = [nn.Linear(6, 12), *([nn.BatchNorm1d(12)] if norm else []), nn.ReLU(), nn.Linear(12, 8), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(8, 3))


@functools.lru_cache
def _trained(make, seed):
    x, y = blobs(600, 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = make()
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.state_dict()


def trained(make, seed):
    """Return the weights of a network trained on the blobs."""
    return {name: tensor.clone() for name, tensor in _trained(make, seed).items()}


def blob_task(make, count=600):
    train, test = blobs(count, 0), blobs(300, 1)
    return Task(make, CachedSplit("train", *train), CachedSplit("test", *test), data_name="blobs")


def linear_classifier():
    return nn.Linear(6, 3)


def perfect_line():
    ends = [trained(linear_classifier, seed) for seed in (1, 2)]
    return [line(ends, blob_task(linear_classifier))]


def identical_ends():
    a = trained(classifier, 1)
    return [line([a, copy.deepcopy(a)], blob_task(classifier))]


def huge_barrier():
    """Two trained networks, their logits a hundredfold."""
    ends = [trained(classifier, seed) for seed in (1, 2)]
    for end in ends:
        last = list(end)[-2:]
        end.update({name: 100 * end[name] for name in last})
    return [line(ends, blob_task(classifier))]


def tiny_table(count=40):
    """Forty samples and a convex loss: two are wrong at A, two others at B, all four in between."""
    a, b = torch.full((count,), 3.0), torch.full((count,), 3.0)
    a[:2], b[:2], a[2:4], b[2:4] = -4.0, 1.0, 1.0, -4.0
    y = half(count)
    sign = 2.0 * y - 1

    def table():
        return nn.Linear(count, 1, bias=False)

    task = Task(table, CachedSplit("train", torch.eye(count), y.float()[:, None]), None, LOSSES["bce"])
    return [line([{"weight": (sign * end)[None]} for end in (a, b)], task)]


def small_toy():
    """Forty samples, and an end that is worse than guessing: nothing rises on the way there."""
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    ends = [[[-5.0, 2.0], [5.0, -2.0]], [[1.0, -1.0], [-1.0, 1.0]]]
    knots = [{"weight": torch.tensor(weight), "bias": torch.zeros(2)} for weight in ends]
    return [line(knots, Task(lambda: nn.Linear(2, 2), CachedSplit("train", x, y)))]


def convex_toy():
    """One end classifies all, the other little; the loss between them is convex."""
    x, y = blobs(600, 0, noise=0.2)
    good = {"weight": 8 * torch.eye(3, 6), "bias": torch.zeros(3)}
    bad = {"weight": 0.3 * torch.eye(3, 6).roll(1, 0), "bias": torch.zeros(3)}
    return [line([good, bad], Task(linear_classifier, CachedSplit("train", x, y)))]


def ten_classes():
    """Neither end has learnt anything."""
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(500) % 10
    weight = 0.02 * torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    ends = [{"weight": scale * weight, "bias": torch.zeros(10)} for scale in (1.0, 1.5)]
    return [line(ends, Task(lambda: nn.Linear(6, 10), CachedSplit("train", x, y)))]


def one_class():
    x, y = blobs(300, 0)
    ends = [trained(linear_classifier, seed) for seed in (1, 2)]
    return [line(ends, Task(linear_classifier, CachedSplit("train", x, torch.zeros_like(y))))]


def values(ends):
    """Values 9·a of 400 samples, with some noise; u·v should be 9."""
    a = torch.linspace(-1, 1, 400)
    noise = 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    return product(split("train", a, 0.0, 9 * a + noise, 400), None, "mse", ends)


def infinite_in_the_middle():
    task = Task(Logarithm, CachedSplit("train", torch.ones(50, 1), torch.ones(50, 1)), None, LOSSES["mse"])
    return [line([{"w": torch.tensor(1.0)}, {"w": torch.tensor(-1.0)}], task)]


def infinite_end():
    task = Task(Logarithm, CachedSplit("train", torch.ones(50, 1), torch.ones(50, 1)), None, LOSSES["mse"])
    return [line([{"w": torch.tensor(1.0)}, {"w": torch.tensor(0.0)}], task)]


def output_layers(*seeds, scales=(1, 1, 1)):
    """Return a trained network, and others that differ from it in the output layer."""
    a = trained(classifier, 1)
    last = list(a)[-2:]
    return [{**a, **{name: scale * a[name] for name in last}} for scale in scales[: len(seeds) + 1]]


def proven():
    points = output_layers(2, 3, scales=(1.0, 0.8, 1.1))
    return [line(points, blob_task(classifier), "certified", ["convex", "convex"])]


def proven_with_barrier():
    points = output_layers(2, 3, scales=(1.0, -0.5, 1.1))
    return [line(points, blob_task(classifier), "certified", ["convex", "convex"])]


def normed_classifier():
    return classifier(norm=True)


def batch_norm():
    ends = [trained(normed_classifier, seed) for seed in (1, 2)]
    return [line(ends, blob_task(normed_classifier), correct="batch-norm")]


def several_builders():
    ends = [trained(classifier, seed) for seed in (1, 2)]
    detour = [ends[0], {name: tensor * 0.9 for name, tensor in ends[0].items()}, ends[1]]
    task = blob_task(classifier)
    return [line(ends, task), line(detour, task, "detour"), *proven()]


def long_names():
    ends = [trained(classifier, seed) for seed in (1, 2)]
    task = replace(blob_task(classifier), model_name="package." * 12 + "model:make", data_name="/data" * 30 + ".npz")
    return [replace(line(ends, task, LONG), build=Cost(1.0, 30_000_000))]


CASES = {
    "perfect-line": Case(perfect_line, "connected", "Connected as far as measured: along the linear path neither"),
    "identical-ends": Case(identical_ends, "connected", "Connected: both ends have the same weights."),
    "convex-toy": Case(
        convex_toy, "connected", "neither the train loss nor the error rises above the worse end's.", "never rises"
    ),
    "small-toy": Case(
        small_toy,
        "connected",
        "neither the train loss nor the error rises above the worse end's.",
        "and no higher in between; the 95 % interval reaches 6.80 points.",
    ),
    "tiny-data": Case(
        tiny_table,
        "undecided",
        "Too few samples to tell whether the error rises along the linear path: on 40 train samples it rises 5.00 "
        "points (95 % interval 0.00 to 13.20) above the worse end's.",
        "and no higher in between. It never rises above the straight line",
    ),
    "two-samples": Case(
        lambda: product(split("train", logits(1.0, 2), 0.0, half(2), 2), ends=((3.0, 3.0), (3.1, 3.1))),
        "undecided",
        "Too few samples to tell whether the error rises along the linear path: on 2 train samples it does not rise.",
        "; the 95 % interval reaches",
    ),
    "one-sample": Case(
        lambda: product(split("train", 1.0, 0.0, 1.0, 1), ends=((3.0, 3.0), (3.1, 3.1))),
        "undecided",
        "whether loss and error rise along the linear path: on 1 train sample neither rises.",
        "of so few there is no confidence interval",
    ),
    "huge-barrier": Case(huge_barrier, "barrier", "Not connected by the linear path: the train loss rises", "at t ="),
    "loss-barrier-without-errors": Case(
        lambda: product(split("train", logits(1.0), logits(0.05), half())),
        "barrier",
        "Not connected by the linear path: the train loss rises 0.6683 above the worse end's, the error does not.",
    ),
    "errors-without-loss-barrier": Case(
        lambda: product(split("train", logits(0.001), logits(-0.002), half())),
        "barrier",
        "the train error rises 100.00 points (95 % interval 98.95 to 100.00) above the worse end's, the loss no "
        "more than",
    ),
    "worse-than-guessing": Case(
        ten_classes,
        "connected",
        "Connected as far as measured, but neither end is shown to be better than guessing: along the linear path",
        "has a loss of 2.303 and an error of 90.00 % on train; A and B are not shown to be better.",
    ),
    "one-class": Case(one_class, "connected", "but all targets are the same", "a constant answer is never wrong"),
    "regression": Case(
        lambda: values(((3.4, 2.7), (2.7, 3.4))),
        "connected",
        "Connected as far as measured: along the linear path the train loss rises no more than",
        "Guessing, the best answer that reads no input, has a loss of",
    ),
    "regression-barrier": Case(
        lambda: values(((3.0, 3.0), (-3.0, -3.0))),
        "barrier",
        "Not connected by the linear path: the train loss rises 27",
    ),
    "from-an-untrained-end": Case(
        lambda: values(((0.0, 0.0), (3.0, 3.0))),
        "connected",
        "the train loss does not rise above the worse end's; the loss is up to 3.5",
    ),
    "one-logit": Case(
        lambda: product(split("train", logits(1.0), 0.0, half())),
        "barrier",
        "the train loss rises 0.693 and the error 50.00 points (95 % interval 43.52 to 54.03) above",
    ),
    "a-loss-of-ones-own": Case(
        lambda: product(
            split("train", 1.0, 0.0, 9.0), None, custom_loss("own", lambda o, y: (o - y).abs()[:, 0] - 100, convex=True)
        ),
        "barrier",
        "the train loss rises 9 above the worse end's.",
    ),
    "infinite-in-the-middle": Case(
        infinite_in_the_middle,
        "barrier",
        "Not connected by the linear path: the train loss is not a finite number at t = 0.500.",
    ),
    "infinite-end": Case(infinite_end, "barrier", "the train loss of B itself is not a finite number."),
    "only-the-ends": Case(
        lambda: product(split("train", logits(1.0), 0.0, half()), points=2, refine=0),
        "undecided",
        "Undecided: nothing was measured between the ends of the linear path; measure more points.",
    ),
    "proven": Case(proven, "proven", "Connected, and proven: along the certified path the train loss never exceeds"),
    "proven-with-barrier": Case(
        proven_with_barrier, "barrier", "; it is proven that the loss never exceeds", "above the larger end's own."
    ),
    "test-differs": Case(
        lambda: product(split("train", 0.0, logits(3.0), half()), split("test", logits(0.5), logits(-0.5), half())),
        "connected",
        "neither the train loss nor the error rises above the worse end's. Other than on train, the test loss rises "
        "0.9559 and the error 100.00 points (95 % interval 98.96 to 100.00) above the worse end's.",
    ),
    "batch-norm-re-estimated": Case(batch_norm, "barrier", "Not connected by the linear path: the train loss rises"),
    "several-builders": Case(several_builders, "barrier", "Not connected by the linear path: the train loss rises"),
    "long-names": Case(long_names, "barrier", f"Not connected by the {LONG} path"),
}  # fmt: skip
