"""Instability analysis (Frankle et al. 2020): from which step on does a training's outcome not depend on its noise?

States are saved while a network trains, copies of it are trained on with other orders of the data, and the barrier
between copies is a function of the step at which they part.
"""

from connectivity_hooks.stability.analysis import stability_of
from connectivity_hooks.stability.copies import Copy, copies
from connectivity_hooks.stability.result import Stability
from connectivity_hooks.stability.start import save_start

__all__ = ["Copy", "Stability", "copies", "save_start", "stability_of"]
