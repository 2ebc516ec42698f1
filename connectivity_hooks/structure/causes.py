"""What a person calls the operations that mix neurons: a layer norm, softmax attention, a recurrent layer."""

from __future__ import annotations

import re

from connectivity_hooks.structure.program import Step

LAYER_NORM = "a layer norm"
RMS_NORM = "an RMS norm"
GROUP_NORM = "a group norm"
INSTANCE_NORM = "an instance norm"
LIVE_BATCH_NORM = "a batch norm without running statistics"
ATTENTION = "softmax attention"
SOFTMAX = "a softmax"
RECURRENT = "a recurrent layer"

_BY_OPERATION = {
    "layer_norm": LAYER_NORM,
    "native_layer_norm": LAYER_NORM,
    "rms_norm": RMS_NORM,
    "group_norm": GROUP_NORM,
    "native_group_norm": GROUP_NORM,
    "instance_norm": INSTANCE_NORM,
    "batch_norm": LIVE_BATCH_NORM,
    "scaled_dot_product_attention": ATTENTION,
    "softmax": SOFTMAX,
    "log_softmax": SOFTMAX,
    "lstm": RECURRENT,
    "gru": RECURRENT,
    "rnn_tanh": RECURRENT,
    "rnn_relu": RECURRENT,
    "lstm_cell": RECURRENT,
    "gru_cell": RECURRENT,
    "rnn_tanh_cell": RECURRENT,
    "rnn_relu_cell": RECURRENT,
}
# Norms that are written out in simple operations have a name in their class alone.
_BY_CLASS = ((r"RMS_?Norm", RMS_NORM), (r"Layer_?Norm", LAYER_NORM), (r"Group_?Norm", GROUP_NORM))


def cause(step: Step) -> str | None:
    """Return what a step that is ``other`` belongs to, in a person's words; None if it is only itself."""
    if step.kind != "other":
        return None
    named = _BY_OPERATION.get(step.operation.removeprefix("aten."))
    if named == SOFTMAX and re.search(r"atte?n", step.module_kind, re.IGNORECASE):
        return ATTENTION
    if named is not None:
        return None if named == LIVE_BATCH_NORM and step.constants else named
    return next((words for pattern, words in _BY_CLASS if re.search(pattern, step.module_kind)), None)
