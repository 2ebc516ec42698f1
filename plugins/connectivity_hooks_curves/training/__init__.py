"""Training of curves: control points between two fixed ends, by gradient descent on the loss at random t.

In reading order: `settings` (how it is trained), `module` (the user's module, its parameters in one vector),
`curve` (control points to parameters at t, and gradients back), `training` (the loop, resumed where it stopped).
"""
