"""Finding the element of each group that brings the neurons of one checkpoint nearest to those of another.

By weights, in reading order: `gauge` (both checkpoints in weights of least norm), `ends` (working copies and their
products), `nearest` (one space solved), `units` (which are solved together), `descent` (all of them, over and over),
`factors` and `mixtures` (what is left, in the first one's own gauge), `weights` (the whole), `said` (in words).
"""
