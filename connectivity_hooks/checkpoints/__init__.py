"""Checkpoints: safetensors files of weights, read with suspicion and written so that a crash harms nothing."""

from connectivity_hooks.checkpoints.atomic import atomic_text, atomic_write, make_folder, require_target
from connectivity_hooks.checkpoints.fitting import fit, fit_pair, require_outlines
from connectivity_hooks.checkpoints.like import require_function, require_new, write_like
from connectivity_hooks.checkpoints.pickles import convert
from connectivity_hooks.checkpoints.reading import Checkpoint, read, read_together, require_finite
from connectivity_hooks.checkpoints.writing import save, write_tensors

__all__ = [
    "Checkpoint",
    "atomic_text",
    "atomic_write",
    "convert",
    "fit",
    "fit_pair",
    "make_folder",
    "read",
    "read_together",
    "require_finite",
    "require_function",
    "require_new",
    "require_outlines",
    "require_target",
    "save",
    "write_like",
    "write_tensors",
]
