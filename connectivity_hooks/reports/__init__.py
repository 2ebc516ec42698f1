"""Reports: the answer in words, then a picture, then tables; and the same for programs."""

from connectivity_hooks.reports.html import page
from connectivity_hooks.reports.matrix import matrix_figure, save_matrix
from connectivity_hooks.reports.plots import STYLE, as_svg
from connectivity_hooks.reports.report import Report, environment, load_saved
from connectivity_hooks.reports.rows import write_csv
from connectivity_hooks.reports.tables import aligned, in_blocks

__all__ = [
    "STYLE",
    "Report",
    "aligned",
    "as_svg",
    "environment",
    "in_blocks",
    "load_saved",
    "matrix_figure",
    "page",
    "save_matrix",
    "write_csv",
]
