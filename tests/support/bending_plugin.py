"""A stranger's plugin: a builder that trains and keeps its state, an aligner, and ears for what is told."""

from dataclasses import dataclass

import torch
from torch.func import functional_call

from connectivity_hooks.contracts import Aligner, Alignment, Builder, hookimpl, option
from connectivity_hooks.paths import Path

told = []
ran = []  # every step that was really done
EVERY = 5


@dataclass(frozen=True)
class Options:
    steps: int = option(30, "Steps of training.", ge=1)


class Bend(Builder):
    """Two straight lines over a point that is trained by momentum, its batches and t drawn from the seed."""

    name = "bend"
    Options = Options

    def build(self, a, b, task):
        model = task.model()
        names = [name for name, _ in model.named_parameters()]
        generator = torch.Generator().manual_seed(self.seed)
        middle = {name: (a[name] + b[name]) / 2 if name in names else a[name] for name in a}
        speed = {name: torch.zeros_like(a[name]) for name in names}
        step, kept = 0, self.work.load()
        if kept is not None:
            step = kept.note["step"]
            generator.set_state(kept.tensors["generator"])
            for name in names:
                middle[name], speed[name] = kept.tensors[f"point/{name}"], kept.tensors[f"speed/{name}"]
        while step < self.options.steps:
            self._step(model, (a, middle, b), speed, generator, task)
            step += 1
            ran.append(step)
            if step % EVERY == 0 and self.work.due():
                tensors = {
                    f"{kind}/{name}": at[name] for kind, at in (("point", middle), ("speed", speed)) for name in names
                }
                self.work.save({**tensors, "generator": generator.get_state()}, {"step": step})
        return Path.from_points([a, middle, b])

    def _step(self, model, points, speed, generator, task):
        a, middle, b = points
        t = float(torch.rand((), generator=generator))
        end, share = (a, 2 * t) if t < 0.5 else (b, 2 - 2 * t)
        batch = torch.randint(len(task.train), (32,), generator=generator)
        leaves = {name: middle[name].clone().requires_grad_() for name in speed}
        weights = {name: end[name] + share * (leaves[name] - end[name]) for name in leaves}
        outputs = functional_call(model, weights, (task.train.inputs[batch],))
        loss = task.loss(outputs, task.train.targets()[batch])
        for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            speed[name] = 0.9 * speed[name] - 0.01 * gradient
            middle[name] = (middle[name] + speed[name]).detach()


class Turned(Aligner):
    """Turns the order of the hidden neurons of a network of two layers around, and keeps that it did."""

    name = "turned"

    def align(self, a, b, task):
        ran.append("aligned")
        first, bias, last = (name for name in b if name != list(b)[-1])
        return Alignment(
            {**b, first: b[first].flip(0), bias: b[bias].flip(0), last: b[last].flip(1)}, {"order": "turned"}
        )


@hookimpl
def register_builders():
    return [Bend]


@hookimpl
def register_aligners():
    return [Turned]


@hookimpl
def path_built(path, seconds):
    told.append(("built", path.builder, seconds))


@hookimpl
def path_evaluated(evaluation):
    told.append(("evaluated", evaluation.path.builder, evaluation.seconds))
