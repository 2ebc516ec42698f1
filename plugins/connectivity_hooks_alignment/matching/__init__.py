"""Finding the element of each group that brings the neurons of one checkpoint nearest to those of another.

`nearest` solves for one space, `units` says which spaces are solved together, `weights` goes over all of them.
"""
