"""Training of image networks at the pace of a GPU: data on it, a step as one CUDA graph, passes in bfloat16.

On the processor the same steps run one operation after the other, in full precision.
"""

import time

import torch
from torch.nn import functional as F

from connectivity_hooks_curves.training.module import FlatModule

MOMENTUM = 0.9
WARM_UP = 0.15  # of all steps, in which the rate rises; then it falls in a straight line to 0
TRIES = 3  # steps before one is recorded: libraries choose their kernels, and memory is laid out


class Crops:
    """Random crops of images padded with zeros, half of them mirrored, each with a square of zeros if asked for.

    Everything is drawn on the images' device, so that a recorded step draws anew (DeVries and Taylor 2017, arXiv
    1708.04552, for the square).

    Args:
        images: (N, 3, H, H).
        padding: Pixels on each side.
        square: Width of the square; 0 for none.
    """

    def __init__(self, images, padding=4, square=0):
        self._size, self._padding, self._square = images.shape[-1], padding, square
        self._padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1).contiguous()

    def __call__(self, rows):
        """Return crops (n, 3, H, H) of the images of some rows (n,)."""
        along = torch.arange(self._size, device=rows.device)
        top, left = (self._drawn(rows, 2 * self._padding + 1) for _ in range(2))
        mirrored = self._drawn(rows, 2) == 1
        columns = left + torch.where(mirrored, self._size - 1 - along, along)
        x = self._padded[rows[:, None, None], (top + along)[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if not self._square:
            return x
        down, across = (self._inside(rows, along) for _ in range(2))
        return x.masked_fill(down[:, None, :, None] & across[:, None, None, :], 0.0)

    def _inside(self, rows, along):
        away = along - self._drawn(rows, self._size) + self._square // 2
        return (away >= 0) & (away < self._square)

    def _drawn(self, rows, count):
        return torch.randint(count, (len(rows), 1), device=rows.device)


class Descent:
    """Steps of SGD with Nesterov's momentum on one vector of all parameters.

    Args:
        task: Model, data and loss; its training split is held in memory.
        crops: Gives the inputs of some rows.
        batch_size: Samples of a step.
        weight_decay: Of all that has more than one axis.

    Attributes:
        rows: (batch_size,) what the next step trains on; to be written to.
        rate: () the learning rate of the next step; to be written to.
        loss: () sum of the losses since it was zeroed.
    """

    def __init__(self, task, crops, batch_size, weight_decay):
        self.model = task.factory().to(task.device).train()
        self._task, self._crops, self._targets = task, crops, task.train.targets()
        (group,) = FlatModule(self.model).groups
        self._values, self._gradient = group.values, torch.zeros_like(group.values)
        self._velocity, self._decay = torch.zeros_like(group.values), torch.zeros_like(group.values)
        parameters, decays = dict(self.model.named_parameters()), group.views(self._decay)
        for name, view in group.views(self._gradient).items():
            parameters[name].grad = view
            decays[name].fill_(weight_decay if view.ndim > 1 else 0.0)
        self.rows = torch.arange(batch_size, device=task.device)
        self.rate, self.loss = (torch.zeros((), device=task.device) for _ in range(2))
        self.step = self._take if task.device.type != "cuda" else self._recorded()

    def _take(self):
        self._gradient.zero_()
        device = self._task.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda", cache_enabled=False):
            outputs = self.model(self._crops(self.rows))
        loss = F.cross_entropy(outputs.float(), self._targets[self.rows])
        loss.backward()
        with torch.no_grad():
            self._gradient.addcmul_(self._decay, self._values)
            self._velocity.mul_(MOMENTUM).add_(self._gradient)
            self._values.sub_(self._gradient.add_(self._velocity, alpha=MOMENTUM).mul_(self.rate))
            self.loss += loss.detach()

    def _recorded(self):
        """Return a step as one CUDA graph: small layers take longer to launch than to compute."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(TRIES):
                self._take()
        torch.cuda.current_stream().wait_stream(aside)
        for used in (self._velocity, self.loss):
            used.zero_()  # the rate was 0, so that weights are where they were
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._take()
        return self._graph.replay


def train_images(task, seed, epochs, batch_size=512, peak=0.4, weight_decay=5e-4, square=0, seconds=None, say=print):
    """Return a network trained on crops by SGD, the rate going up in a straight line and down to 0.

    After two epochs their number is cut to what `seconds` have room for, if they are given.
    """
    torch.manual_seed(seed)
    x = torch.cat([inputs for inputs, _ in task.train.batches(4096)])
    descent = Descent(task, Crops(x, square=square), batch_size, weight_decay)
    an_epoch = len(x) // batch_size
    started, epoch = time.perf_counter(), 0
    while epoch < epochs:
        order = torch.randperm(len(x), device=x.device)[: an_epoch * batch_size].view(an_epoch, batch_size)
        rates = peak * schedule(torch.arange(epoch * an_epoch, (epoch + 1) * an_epoch) + 1, epochs * an_epoch)
        for rows, rate in zip(order, rates.to(x.device), strict=True):
            descent.rows.copy_(rows)
            descent.rate.copy_(rate)
            descent.step()
        epoch += 1
        if epoch in {1, 2, epochs} or epoch % 10 == 0:
            mean, taken = descent.loss.item() / an_epoch, time.perf_counter() - started  # waits for the device
            say(f"seed {seed}: epoch {epoch} of {epochs}, mean loss {mean:.4f}, {taken:.1f} s")
            if epoch == 2 and seconds is not None:
                epochs = min(epochs, max(2, int(seconds / taken * 2)))
        descent.loss.zero_()
    return descent.model.eval()


def schedule(step, steps):
    """Return the shares of the largest rate at steps (n,) of so many, counted from 1."""
    done = step / steps
    return torch.minimum(done / WARM_UP, (1 - done) / (1 - WARM_UP))


@torch.no_grad()
def error_of(model, split):
    """Return the share of a split that a network has wrong."""
    wrong = sum((model(x).argmax(1) != y).sum() for x, y in split.batches(1000))
    return int(wrong) / len(split)
