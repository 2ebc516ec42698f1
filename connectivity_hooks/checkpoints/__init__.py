"""Checkpoints: safetensors files of weights, read with suspicion and written so that a crash harms nothing."""

from connectivity_hooks.checkpoints.fitting import fit, fit_pair, require_outlines
from connectivity_hooks.checkpoints.pickles import convert
from connectivity_hooks.checkpoints.reading import Checkpoint, read, read_together, require_finite
from connectivity_hooks.checkpoints.writing import save, write_tensors

__all__ = [
    "Checkpoint",
    "convert",
    "fit",
    "fit_pair",
    "read",
    "read_together",
    "require_finite",
    "require_outlines",
    "save",
    "write_tensors",
]
