"""Hooks on a training, and a verdict on whether two checkpoints are connected."""

__version__ = "0.1.0"
