"""torchvision's detection: a batch is a list of images and a list of dicts of boxes."""

import torch
from torch.utils.data import DataLoader
from torchvision.models.detection import ssdlite320_mobilenet_v3_large


def make():
    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)


def collate(samples):
    return tuple(zip(*samples, strict=True))


def data(seed=0):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    target = {"boxes": torch.tensor([[1.0, 1.0, 9.0, 9.0]]), "labels": torch.tensor([1])}
    samples = [(image, target) for image in images]
    return DataLoader(samples, 2, collate_fn=collate), DataLoader(samples, 2, collate_fn=collate)
