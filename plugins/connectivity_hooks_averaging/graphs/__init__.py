"""Graphs of checkpoints: which are connected, every two or along a tree.

`graph` measures and decides, by `tree` and `components`; `pages` and `picture` show it.
"""
