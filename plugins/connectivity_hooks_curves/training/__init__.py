"""Training of curves: control points between two fixed ends, by gradient descent on the loss at random t.

In reading order: `settings` (how it is trained), `module` (the user's module, its parameters in vectors), `curve`
(control points to parameters at t, and gradients back), `points` (those of a whole module, and their optimizer),
`untrained` (what else differs between the ends), `draws` (what chance decides), `forth_and_back` (one pass), `parts`
and `summing` (a batch at several places or in several processes), `window` (what is looked at), `run` (all that a
training has under way), and `training` (the loop). Whatever else has fixed and trained points is trained by the same
loop; builders with a loop of their own share `run`, and `vectors` and `adam` for what they move.

A module that is spread over processes: `spread` and `blocks`, `unwritten` (what it must not do), `told` (a state that
the first process has).
"""
