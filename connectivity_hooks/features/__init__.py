"""Features: what a layer puts out, caught by forward hooks that leave the training as it is.

`hooks` tell a listener of every pass; `passes` makes whole passes of what it is told and hands them to a `store`: the
last pass, a uniform sample (`sampled`), or the rows since the last check with their targets (`window`). `left_out` says
what goes wrong. `select` proposes layers; `outputs` and `rows` say which tensor and which axis are a layer's feature;
`observation` is what conditions see of one checkpoint.
"""

from connectivity_hooks.features.calls import modules_of
from connectivity_hooks.features.capture import Capture, capture
from connectivity_hooks.features.hooks import eager
from connectivity_hooks.features.layout import Layout, usual
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.features.outputs import Passed, tensor_in
from connectivity_hooks.features.padding import Tokens
from connectivity_hooks.features.stream import stream
from connectivity_hooks.features.view import neurons_last

__all__ = [
    "Capture",
    "Layout",
    "Observation",
    "Passed",
    "Tokens",
    "capture",
    "eager",
    "modules_of",
    "neurons_last",
    "stream",
    "tensor_in",
    "usual",
]
