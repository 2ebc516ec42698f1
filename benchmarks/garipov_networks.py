"""The networks between which Garipov et al. (2018, arXiv 1802.10026) drew curves on CIFAR-10, in their sizes.

Convolutions are in PyTorch's channels-last format, which GPUs compute quickest with; weights in files are as ever.
"""

import itertools

import torch
from torch import nn

VGG16 = [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]


def vgg16(norm=True, classes=10):
    """Return VGG16 for images of 32×32: five stages of 3×3 convolutions, and three layers, two after dropout.

    With `norm` each convolution is followed by batch norm, which the paper's VGG16 has not.
    """
    layers, before = [], 3
    for stage in VGG16:
        for after in stage:
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=not norm)]
            layers += [nn.BatchNorm2d(after)] if norm else []
            layers += [nn.ReLU(inplace=True)]
            before = after
        layers += [nn.MaxPool2d(2)]
    head = [nn.Flatten()]
    for _ in range(2):
        head += [nn.Dropout(), nn.Linear(512, 512), nn.ReLU(inplace=True)]
    return _begun(nn.Sequential(*layers, *head, nn.Linear(512, classes)))


class Bottleneck(nn.Module):
    """A block of 1×1, 3×3 and 1×1 convolutions, batch norm and ReLU before each (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, before, inner, stride):
        super().__init__()
        after = 4 * inner
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, inner, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(inner), nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.norm3, self.conv3 = nn.BatchNorm2d(inner), nn.Conv2d(inner, after, 1, bias=False)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        """Return the feature maps after the block."""
        inner = self.conv1(self.norm1(x).relu_())
        inner = self.conv2(self.norm2(inner).relu_())
        return self.conv3(self.norm3(inner).relu_()) + self.skip(x)


def preresnet(depth=164, classes=10):
    """Return the pre-activation ResNet of `depth` = 9n + 2: three stages of n bottlenecks, 64 to 256 channels."""
    blocks, rest = divmod(depth - 2, 9)
    if rest or not blocks:
        raise ValueError(f"depth {depth}: expected 9n + 2")
    layers, before = [nn.Conv2d(3, 16, 3, padding=1, bias=False)], 16
    for stage, block in itertools.product(range(3), range(blocks)):
        inner = 16 << stage
        layers.append(Bottleneck(before, inner, 2 if stage and not block else 1))
        before = 4 * inner
    head = [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _begun(nn.Sequential(*layers, *head, nn.Linear(before, classes)))


def _begun(net):
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net.to(memory_format=torch.channels_last)
