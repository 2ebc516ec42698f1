"""Training the ends that the benchmarks connect."""

import math

import torch


def train(task, seed, epochs, batch_size=250, peak=2e-3):
    """Return a network trained by Adam under a one-cycle schedule (Smith and Topin 2019)."""
    torch.manual_seed(seed)
    model = task.factory().to(task.device, memory_format=torch.channels_last).train()
    x = torch.cat([inputs for inputs, _ in task.train.batches(4096)])
    y = task.train.targets()
    optimizer = torch.optim.Adam(model.parameters(), peak)
    steps = epochs * (len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: steps // epochs * batch_size].to(x.device).split(batch_size):
            loss = task.loss(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def train_transformer(task, seed, steps=2000, batch_size=64, peak=2e-3, warmup=100):
    """Return a network trained as transformers are: AdamW, warm-up, a cosine, and gradients clipped to length 1.

    Weight decay 0.1 is on matrices alone. Batches are drawn with replacement.
    """
    torch.manual_seed(seed)
    model = task.factory().to(task.device).train()
    groups = [[p for p in model.parameters() if (p.ndim > 1) is decayed] for decayed in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}], peak
    )
    generator = torch.Generator().manual_seed(1000 + seed)  # batches apart from the weights
    batches = (torch.randint(0, len(task.train), (batch_size,), generator=generator) for _ in range(steps))

    def factor(step):
        return min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / steps)) / 2

    return _descend(task, model, optimizer, factor, batches, clip=1.0)


def train_sgd(task, seed, epochs=50, batch_size=1000, peak=0.05, warmup=5):
    """Return a network trained by SGD with momentum, the rate going up over `warmup` epochs and then down to 0.

    The defaults are those with which Jordan et al. (2023) train their MLPs on MNIST.
    """
    torch.manual_seed(seed)
    model = task.factory().to(task.device).train()
    optimizer = torch.optim.SGD(model.parameters(), peak, momentum=0.9)
    generator = torch.Generator().manual_seed(1000 + seed)
    each = math.ceil(len(task.train) / batch_size)
    batches = (
        batch for _ in range(epochs) for batch in torch.randperm(len(task.train), generator=generator).split(batch_size)
    )

    def factor(step):
        return min(step / (warmup * each), (epochs * each - step) / ((epochs - warmup) * each))

    return _descend(task, model, optimizer, factor, batches)


def _descend(task, model, optimizer, factor, batches, clip=None):
    """Take a step on each batch of rows of the training split, and return the network."""
    x = torch.cat([inputs for inputs, _ in task.train.batches(4096)])
    y = task.train.targets()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for batch in batches:
        rows = batch.to(x.device)
        loss = task.loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
    return model.eval()
