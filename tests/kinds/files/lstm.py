"""A language model: tokens (N, T) in, logits (N, T, V) and a state out, the next tokens (N, T) as labels."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 11)

    def forward(self, tokens, state=None):
        states, state = self.lstm(self.embedding(tokens), state)
        return self.head(states), state


def make():
    return LanguageModel()


def data(seed=0):
    text = torch.randint(11, (30, 8), generator=torch.Generator().manual_seed(seed))
    x, y = text[:, :-1], text[:, 1:]
    return TensorDataset(x[:20], y[:20]), TensorDataset(x[20:], y[20:])
