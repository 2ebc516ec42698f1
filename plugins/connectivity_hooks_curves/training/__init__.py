"""Training of curves: control points between two fixed ends, by gradient descent on the loss at random t.

In reading order: `settings` (how it is trained), `module` (the user's module, its parameters in vectors), `curve`
(control points to parameters at t, and gradients back), `points` (those of a whole module, and their optimizer),
`untrained` (what else differs between the ends), `draws` (what chance decides), `forth_and_back` (one pass), `parts`
and `summing` (a batch at several places or in several processes), `window` (what is looked at), and `training` (the
loop, resumed where it stopped). Whatever else has fixed and trained points is trained by the same loop.

Other builders share it: `run` is what they have under way, `vectors` and `adam` what they move.
"""
