"""CIFAR-10 from a safetensors file of JPEG bytes, for ``--data benchmarks/cifar10.py:splits?file=…&train=4000``.

The file holds, for each of ``train`` and ``test``, ``<split>_jpeg`` (all images' bytes), ``<split>_offsets`` (N+1) and
``<split>_labels`` (N).
"""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.data import DataLoader, TensorDataset

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


def splits(file, train=4000, test=2000):
    """Return loaders over the first `train` and `test` images, normalised by channel."""
    arrays = load_file(file)
    return {name: _loader(arrays, name, count) for name, count in (("train", train), ("test", test))}


def _loader(arrays, split, count):
    jpeg, offsets = arrays[f"{split}_jpeg"].tobytes(), arrays[f"{split}_offsets"]
    with ThreadPoolExecutor() as pool:  # decoding lets go of the interpreter, and 60 000 images take a core some 10 s
        pixels = list(pool.map(lambda i: _decoded(jpeg[offsets[i] : offsets[i + 1]]), range(count)))
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(arrays[f"{split}_labels"][:count].astype(np.int64))
    return DataLoader(TensorDataset((images - MEAN) / STD, labels), batch_size=500)


def _decoded(image):
    return np.asarray(Image.open(io.BytesIO(image)))
