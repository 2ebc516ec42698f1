"""Which slices of weights belong together, found by forward derivatives of the module alone.

For one generator X there is a column for each slice of a weight along which neurons of a space are: the derivative of
the outputs where X moves this slice alone. A combination of columns that is zero is a circuit: slices that move
together without changing the function, with their signs. It knows nothing of members, roles and copies.
"""

import torch
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from connectivity_hooks.structure.layouts import Joined, Neurons

TINY = 1e-9  # of the largest column: what is smaller is not seen in the outputs, as the biases of keys


def slices_of(layout, space):
    """Return the entries (n,) of an axis that are the space's neurons, once for each index of all that is beside."""
    if isinstance(layout, Neurons):
        return [torch.arange(layout.width)] if layout.space == space else []
    if isinstance(layout, Joined):
        found, first = [], 0
        for part in layout.parts:
            found += [entries + first for entries in slices_of(part, space)]
            first += part.width
        return found
    sizes = [factor.width for factor in layout.factors]
    at = next((n for n, factor in enumerate(layout.factors) if slices_of(factor, space)), None)
    if at is None:
        return []
    numbered = torch.arange(layout.width).view(sizes).movedim(at, -1).reshape(-1, sizes[at])
    return [row[inner] for row in numbered for inner in slices_of(layout.factors[at], space)]


def parts_of(spaces, space, weights, without=()):
    """Yield (weight, axis, entries) of every slice."""
    for name, layouts in spaces.weights.items():
        if name in weights and name not in without:
            for axis, layout in enumerate(layouts):
                for entries in slices_of(layout, space):
                    yield name, axis, entries


def columns(model, weights, inputs, parts, generators):
    """Return the derivatives (outputs, parts) of the outputs, each slice moved by its generator (n, n)."""
    found = []
    for (name, axis, entries), generator in zip(parts, generators, strict=True):
        tangent = torch.zeros_like(weights[name]).movedim(axis, 0)
        tangent[entries] = torch.tensordot(generator, weights[name].movedim(axis, 0)[entries], 1)
        found.append(slope(model, weights, inputs, {name: tangent.movedim(0, axis)}))
    return torch.stack(found, 1)


def slope(model, weights, inputs, tangents):
    """Return the derivative of the outputs along tangents of some weights."""
    moving = {name: weights[name] for name in tangents}

    def outputs(moving):
        return functional_call(model, {**weights, **moving}, (inputs,))

    with sdpa_kernel(SDPBackend.MATH):  # the others have no forward derivative
        return jvp(outputs, (moving,), (tangents,))[1].flatten()


def seen(matrix):
    """Return which columns are seen in the outputs."""
    sizes = matrix.norm(dim=0)
    return sizes > TINY * sizes.max()


def circuits(matrix):
    """Return how many independent combinations of the columns are zero."""
    kept = matrix[:, seen(matrix)]
    sizes = torch.linalg.svdvals(kept / kept.norm(dim=0))
    return int((sizes < 1e-9 * sizes[0]).sum()) + max(0, kept.shape[1] - len(sizes))
