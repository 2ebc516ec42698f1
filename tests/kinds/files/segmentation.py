"""torchvision's segmentation: {"out": (N, C, H, W), "aux": …}, masks (N, H, W) with 255 where nothing counts."""

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.segmentation import FCN


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x):
        first = self.first(x)
        return {"aux": first, "out": self.second(first)}


def make():
    return FCN(Backbone(), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1))


def collate(samples):
    x, y = (torch.stack(part) for part in zip(*samples, strict=True))
    y[y == 255] = -100
    return x, y


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    masks = torch.randint(4, (16, 16, 16), generator=generator)
    masks[:, :2] = 255
    samples = list(zip(images, masks, strict=True))
    return DataLoader(samples[:10], 5, collate_fn=collate), DataLoader(samples[10:], 5, collate_fn=collate)
