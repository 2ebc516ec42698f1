"""A model with several inputs by name: an image and a row of a table."""

import torch
from torch import nn
from torch.utils.data import DataLoader


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(1, 4, 3)
        self.table = nn.Linear(5, 8)
        self.head = nn.Linear(12, 3)

    def forward(self, image, table, mask=None):
        seen = torch.relu(self.image(image)).mean((2, 3))
        read = torch.relu(self.table(table))
        return self.head(torch.cat([seen, read], 1))


def make():
    return Net()


generator = torch.Generator().manual_seed(0)
images, table = torch.randn(40, 1, 6, 6, generator=generator), torch.randn(40, 5, generator=generator)
train_set = list(zip(images, table, table[:, :3].argmax(1), strict=True))


def data():
    samples = [{"image": image, "table": row, "labels": label} for image, row, label in train_set]
    return DataLoader(samples[:30], 10), DataLoader(samples[30:], 10)
