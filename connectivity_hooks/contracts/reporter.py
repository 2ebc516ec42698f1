"""A reporter writes what was found in a form of its own."""

from __future__ import annotations

import pathlib
from abc import abstractmethod
from typing import TYPE_CHECKING

from connectivity_hooks.contracts.method import Method

if TYPE_CHECKING:
    from connectivity_hooks.reports.report import Report


class Reporter(Method):
    """Writes a report beside the built-in ``report.json``, ``evaluation.csv``, ``report.svg`` and ``report.html``."""

    @abstractmethod
    def write(self, report: Report, folder: pathlib.Path) -> pathlib.Path:
        """Write `report` into `folder` and return the file written."""
