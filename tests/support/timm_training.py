"""What timm's train.py does, made of timm's own parts, on a few generated images."""

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask

CLASSES, SIZE = 3, 32


def images(folder, count=12):
    """Write `count` images of each class, in folders by class as ImageNet has them."""
    draws = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
        for number in range(count):
            pixels = draws.integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[..., label] += 55
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")
    return folder


def loader(folder, *, is_training=False, prefetch=True):
    data = create_dataset("", root=str(folder), split="", is_training=is_training)
    return create_loader(
        data,
        input_size=(3, SIZE, SIZE),
        batch_size=8,
        is_training=is_training,
        num_workers=0,
        use_prefetcher=prefetch,
        device=torch.device("cpu"),
        persistent_workers=False,
    )


def parts(*, ema=False, optimizer="sgd", compiled=False):
    """Return a task and its optimizer."""
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=CLASSES, drop_rate=0.2)
    task = ClassificationTask(model, torch.nn.CrossEntropyLoss(), verbose=False)
    if ema:
        task.setup_ema(decay=0.5)
    if compiled:
        task.compile(backend="eager")
    return task, create_optimizer_v2(task.get_trainable_module(), opt=optimizer, lr=0.01, momentum=0.9)


def train(epochs, task, optimizer, batches, *, accumulate=1, fail_at=None):
    """Train over `epochs` as `train_one_epoch` does, the last batches of an epoch accumulated or not."""
    updates = 0
    for epoch in epochs:
        if epoch == fail_at:
            raise KeyboardInterrupt
        task.get_trainable_module().train()
        optimizer.zero_grad()
        for index, (images_, labels) in enumerate(batches):
            (task(images_, labels)["loss"] / accumulate).backward()
            if (index + 1) % accumulate == 0 or index + 1 == len(batches):
                optimizer.step()
                optimizer.zero_grad()
                updates += 1
                task.update_ema(step=updates)
    return task.state_dict()
