"""What each operation does to axes: one row for each, by its own name as in `Step.operation`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connectivity_hooks.structure.axis_rules import maps, parts, pointwise, recurrent, shapes
from connectivity_hooks.structure.axis_rules.operands import Rule

_ENTRY_BY_ENTRY = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "log_sigmoid", "softsign", "abs", "square", "sin", "cos", "clamp",
    "clamp_min", "clamp_max", "exp", "expm1", "log", "log1p", "erf", "neg", "pow", "sqrt", "rsqrt", "reciprocal",
    "sign", "dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "alias", "detach",
    "lift_fresh_copy", "softmax", "log_softmax", "_softmax", "add", "sub", "rsub", "mul", "div", "where",
    "maximum", "minimum", "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor", "zeros_like", "ones_like", "full_like",
    "nan_to_num", "isnan", "isinf", "softshrink", "hardshrink", "tanhshrink", "logit", "erfinv", "floor", "ceil",
    "round", "trunc", "remainder", "fmod", "atan2", "tan", "asin", "acos", "atan", "sinh", "cosh", "log2",
    "log10", "exp2", "xlogy", "lerp", "addcmul", "addcdiv", "_weight_norm",
)  # fmt: skip
_FILLS = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
ONE_NUMBER = frozenset(f"aten.{operation}" for operation in _FILLS)
"""Operations whose values are one number everywhere."""

_OF_ONE_TYPE = ("to", "type_as", "_to_copy", "float", "double", "half")
_REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std", "prod", "linalg_vector_norm", "logsumexp", "any", "all")
_POOLS = tuple(f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3))
_POOLS += tuple(f"max_pool{axes}d_with_indices" for axes in (1, 2, 3))
_STRETCHED = (
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_nearest1d",
    "upsample_linear1d",
    "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa",
)
_RESHAPES = ("view", "reshape", "flatten", "_unsafe_view", "unflatten", "view_as", "reshape_as")

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "getitem": parts.item,
        **{
            f"aten.{operation}": rule
            for operations, rule in (
                (("linear",), maps.linear),
                (("conv1d", "conv2d", "conv3d"), maps.convolution),
                (("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), maps.transposed_convolution),
                (("matmul", "bmm", "mm", "mv"), maps.matrices),
                (("addmm", "baddbmm"), maps.added_matrices),
                (("einsum",), maps.einsum),
                (("scaled_dot_product_attention",), maps.attention),
                (("embedding",), maps.embedding),
                (_ENTRY_BY_ENTRY, pointwise.pointwise),
                (_OF_ONE_TYPE, pointwise.like_the_first),
                (("batch_norm", "instance_norm"), pointwise.channel_norm),
                (("layer_norm", "rms_norm"), pointwise.last_axes_norm),
                (("group_norm",), pointwise.group_norm),
                (_REDUCTIONS, pointwise.reduction),
                (_POOLS + _STRETCHED, shapes.pool),
                (("permute",), shapes.permute),
                (("transpose", "t", "mT"), shapes.transpose),
                (_RESHAPES, shapes.reshape),
                (("squeeze", "unsqueeze"), shapes.insert_or_drop),
                (("expand", "expand_as"), shapes.expand),
                (("repeat",), shapes.repeat),
                (("repeat_interleave",), shapes.repeat_interleave),
                (("numpy_T",), shapes.backwards),
                (_FILLS, shapes.filled),
                (("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent.recurrent),
                (("cat", "concat", "concatenate"), parts.cat),
                (("stack",), parts.stack),
                (("split", "chunk", "split_with_sizes"), parts.split),
                (("unbind",), parts.unbind),
                (("select",), parts.select),
                (("slice",), parts.slice_of),
                (("pad", "constant_pad_nd"), parts.pad),
                (("roll", "flip"), parts.reordered),
                (("index",), parts.index),
                (("index_select",), parts.index_select),
                (("gather",), parts.gather),
            )
            for operation in operations
        },
    }
)
