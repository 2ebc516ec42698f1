"""A denoiser of (x, t): what it gives is the noise that is in x at time t."""

import torch
from torch import nn
from torch.utils.data import DataLoader


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Linear(1, 8)
        self.down = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 4, 4, stride=2, padding=1)
        self.out = nn.Conv2d(5, 1, 3, padding=1)

    def forward(self, x, t):
        down = torch.relu(self.down(x) + self.time(t[:, None])[:, :, None, None])
        middle = torch.relu(self.middle(down))
        up = torch.relu(self.up(torch.cat([middle, down], 1)))
        return self.out(torch.cat([up, x], 1))


def make():
    return UNet()


images = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def data():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(24, 1, 8, 8, generator=generator)
    t = torch.rand(24, generator=generator)
    noisy = images + t[:, None, None, None] * noise
    samples = [((noisy[i], t[i]), noise[i]) for i in range(24)]
    return DataLoader(samples[:16], 8), DataLoader(samples[16:], 8)
