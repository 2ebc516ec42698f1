"""A variational autoencoder: (image, mean, log of the variance), the code drawn at random in training alone."""

import torch
from torch import nn
from torch.utils.data import DataLoader


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 8)
        self.mean = nn.Linear(8, 2)
        self.logarithm = nn.Linear(8, 2)
        self.decoder = nn.Linear(2, 6)

    def forward(self, x):
        hidden = torch.relu(self.encoder(x))
        mean, logarithm = self.mean(hidden), self.logarithm(hidden)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * (logarithm / 2).exp()
        return self.decoder(code), mean, logarithm


def make():
    return VAE()


def data():
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    return DataLoader(x[:30], 10), DataLoader(x[30:], 10)
