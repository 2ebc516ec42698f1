"""Checkpoints: safetensors files of weights, read with suspicion and written so that a crash harms nothing."""

from connectivity_hooks.checkpoints.fitting import fit, fit_pair
from connectivity_hooks.checkpoints.pickles import convert
from connectivity_hooks.checkpoints.reading import Checkpoint, read, require_finite
from connectivity_hooks.checkpoints.writing import save, write_tensors

__all__ = ["Checkpoint", "convert", "fit", "fit_pair", "read", "require_finite", "save", "write_tensors"]
