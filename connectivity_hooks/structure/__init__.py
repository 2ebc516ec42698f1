"""The structure of a model: its computation as a list of steps, mapped back to weight names."""

from connectivity_hooks.structure import causes
from connectivity_hooks.structure.causes import cause
from connectivity_hooks.structure.program import INPUT, Program, Step, run_step
from connectivity_hooks.structure.reading import read_program
from connectivity_hooks.structure.task_program import first_inputs, task_program

__all__ = [
    "INPUT",
    "Program",
    "Step",
    "cause",
    "causes",
    "first_inputs",
    "read_program",
    "run_step",
    "task_program",
]
