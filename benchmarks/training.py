"""Training the ends that the benchmarks connect."""

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
