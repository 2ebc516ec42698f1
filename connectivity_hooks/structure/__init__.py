"""The structure of a model: its computation as a list of steps, mapped back to weight names."""

from connectivity_hooks.structure.program import Program, Step
from connectivity_hooks.structure.reading import read_program
from connectivity_hooks.structure.task_program import task_program

__all__ = ["Program", "Step", "read_program", "task_program"]
