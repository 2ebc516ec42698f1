"""Matching by gradient descent on the loss in the middle of the line.

In reading order: `coordinates` (on the groups), `places` and `moves` (what a step does to weights), `line` and
`line_loss` (the loss of what is between), `variables` (under Adam), `learned` (the whole).
"""
