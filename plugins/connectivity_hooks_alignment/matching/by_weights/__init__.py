"""Matching by weights alone.

In reading order: `gauge` (both checkpoints in weights of least norm), `ends` (working copies and their products),
`descent` (all spaces, over and over), `factors` and `mixtures` (what is left, in the first one's own gauge), `weights`
(the whole).
"""
