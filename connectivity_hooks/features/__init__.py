"""Features: what a layer puts out, caught by forward hooks that leave the training as it is."""

from connectivity_hooks.features.capture import Capture, capture
from connectivity_hooks.features.stream import stream
from connectivity_hooks.features.view import neurons_last

__all__ = ["Capture", "capture", "neurons_last", "stream"]
