"""The nudged elastic band between two checkpoints, with pivots inserted where the loss asks for them.

In reading order: `builder` (options, and the path that is made), `band` (the cycles of training), `chain` (the pivots
of a module), `geometry` (tangents and distances of points), `survey` (losses measured along the chain).
"""
