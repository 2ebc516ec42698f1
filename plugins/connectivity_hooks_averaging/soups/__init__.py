"""Soups: means of checkpoints that are connected.

In reading order: `average` is ``ch.average``, `how` says what can be asked of it; `frames` brings all into the frame of
the first; `choice` finds the set that is averaged, by `cliques`; `soup` is a mean that grows, `running` that mean under
a correction, with the line to the next; `result` is what came of it, `words`, `content` and `pages` tell it.
"""
