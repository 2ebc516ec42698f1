"""Ensembles along a path: predictions of several points averaged, and how sure, how right and how unlike they are."""
