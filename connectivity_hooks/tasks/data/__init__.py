"""Data from what a user types: one file for each form."""

from connectivity_hooks.tasks.data.loading import load_data

__all__ = ["load_data"]
