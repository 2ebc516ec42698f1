"""The loss along a path: measured where it must be, in closed form where the path's guarantees allow it."""

from connectivity_hooks.evaluation.anywhere import Anywhere
from connectivity_hooks.evaluation.barriers import Barriers
from connectivity_hooks.evaluation.calibrated import Calibrated, Calibrating
from connectivity_hooks.evaluation.calibration import TemperatureFit, fit_temperature, slopes
from connectivity_hooks.evaluation.evaluate import evaluate, read_task
from connectivity_hooks.evaluation.evaluation import Evaluation
from connectivity_hooks.evaluation.measurement import Measurement, SampleScores, score, summarise
from connectivity_hooks.evaluation.measuring import Measuring, make_correction
from connectivity_hooks.evaluation.model_on_path import ModelOnPath
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.evaluation.perplexity import Perplexity
from connectivity_hooks.evaluation.running_statistics import statistics_of, tracked_norms
from connectivity_hooks.evaluation.sampling import computing_type, corrected_sample, sampled

__all__ = [
    "Anywhere",
    "Barriers",
    "Calibrated",
    "Calibrating",
    "Evaluation",
    "Measurement",
    "Measuring",
    "ModelOnPath",
    "Passes",
    "Perplexity",
    "SampleScores",
    "TemperatureFit",
    "computing_type",
    "corrected_sample",
    "evaluate",
    "fit_temperature",
    "make_correction",
    "read_task",
    "sampled",
    "score",
    "slopes",
    "statistics_of",
    "summarise",
    "tracked_norms",
]
