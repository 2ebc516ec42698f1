"""The 1797 handwritten digits bundled with scikit-learn (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import torch

from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks.data.raw import RawData

_TEST_EVERY = 5


def load() -> RawData:
    """Return images (N, 1, 8, 8) in [0, 1] and labels; every fifth digit of each class is in the test split.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("data digits: needs scikit-learn: pip install 'connectivity-hooks[demo]'") from None
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target).long()
    rank = torch.zeros_like(labels)
    for digit in labels.unique():
        rank[labels == digit] = torch.arange(int((labels == digit).sum()))
    test = rank % _TEST_EVERY == 0
    return RawData((images[~test], labels[~test]), (images[test], labels[test]))
