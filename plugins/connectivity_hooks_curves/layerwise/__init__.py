"""The layer-wise walk from one checkpoint to the other.

In reading order: `builder` (options, and the path that is made), `walk` (moves, and training between them), `walker`
(where the walk is), `layers` (what a layer is, its moves, and its variance).
"""
