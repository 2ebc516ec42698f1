"""What each operation does to axes: `table` has a row for each; `operands` is how a row's rule sees a step.

A rule is given a step's axes as terms (`structure.terms`), sets equal what must be the same neurons, pins what may not
move, and returns the terms of the value it computes. Exchanging whatever is left free may not change the function.
"""
