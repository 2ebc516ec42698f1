"""Finding the element of each group that brings the neurons of one checkpoint nearest to those of another.

`nearest` solves for one space, `units` says which spaces are solved together. Then `by_weights`, `by_activations` and
`by_learning`; `closed_forms` tries all that need no training and compares them by `middle`; `together` brings many
checkpoints into one frame; `said` tells what was done, in words.
"""
