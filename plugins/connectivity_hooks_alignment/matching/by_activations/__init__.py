"""Matching by what neurons do on the same samples.

In reading order: `readings` (which values show it), `passing` (both networks side by side), `moments` (covariances,
batch by batch), `recording` (the pass), `activations` (the whole).
"""
