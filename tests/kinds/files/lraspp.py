"""A segmentation network of torchvision's without an auxiliary head: {"out": (N, C, H, W)}."""

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.segmentation import LRASPP


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x):
        low = self.first(x)
        return {"low": low, "high": self.second(low)}


def make():
    return LRASPP(Backbone(), 6, 8, num_classes=4, inter_channels=8)


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    masks = torch.randint(4, (16, 16, 16), generator=generator)
    samples = list(zip(images, masks, strict=True))
    return DataLoader(samples[:10], 5), DataLoader(samples[10:], 5)
