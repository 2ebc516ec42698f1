"""Volumes of low loss: simplices between checkpoints, joined at trained points (Benton et al. 2021, arXiv 2102.13042).

In reading order: `volume` (how large a simplex is, and where it grows), `combination` (what lies at given shares of its
vertices), `star` (simplices of one vector of parameters), `points` (those of a whole module), `training`, `complex`
(what comes of it: drawn from, and walked through), `file`, `builder`, `measuring`, and `commands`.
"""
