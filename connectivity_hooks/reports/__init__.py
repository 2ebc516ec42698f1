"""Reports: the answer in words, then a picture, then tables; and the same for programs."""

from connectivity_hooks.reports.matrix import matrix_figure, save_matrix
from connectivity_hooks.reports.report import Report, load_saved

__all__ = ["Report", "load_saved", "matrix_figure", "save_matrix"]
