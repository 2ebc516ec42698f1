"""The loss along a path: measured where it must be, in closed form where the path's guarantees allow it."""

from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measurement import Measurement

__all__ = ["Barriers", "Evaluation", "Measurement", "evaluate"]
