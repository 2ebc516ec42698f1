"""How sub-networks are found, cheapest means first.

In reading order; each file uses those below it:

- `both_ends`: two finders side by side or in turn (`parallel`).
- `finder`: a sub-network for every cut of one end: in which order, from which neurons, by which means.
- `fitter`: one sub-network: a probe, or layers trained for some rounds.
- `training`, `initial_weights`, `draft`: one round; where it begins; what it works on.
- `neuron_pairs`: passes a sub-network's outputs through the layers above.
- `output_layer`: the convex part: an affine map fitted to a goal, and scaled to reach it.
- `goal`: what a sub-network should learn, and how low its loss should be.
- `setting`, `effort`, `training_schedule`: what all sub-networks of a path have in common.
- `features`: what it is trained on, within the memory allowed.
- `importance`: which neurons an end would rather keep; it orders the sides before the search begins.
"""
