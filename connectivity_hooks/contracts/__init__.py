"""What a plugin implements: the hooks, and the kinds of class they return."""

from connectivity_hooks.contracts.adapter import Adapter
from connectivity_hooks.contracts.aligner import Aligner, Alignment
from connectivity_hooks.contracts.builder import Builder, Role
from connectivity_hooks.contracts.command import Command
from connectivity_hooks.contracts.condition import Condition, Verdict
from connectivity_hooks.contracts.correction import Correction, Prepared
from connectivity_hooks.contracts.hookspecs import hookimpl
from connectivity_hooks.contracts.method import Method, NoOptions
from connectivity_hooks.contracts.operation import Operation
from connectivity_hooks.contracts.options import make_options, option
from connectivity_hooks.contracts.reporter import Reporter
from connectivity_hooks.contracts.tokenizer import Tokenizer
from connectivity_hooks.contracts.work import UNKEPT, State, Work

__all__ = [
    "UNKEPT",
    "Adapter",
    "Aligner",
    "Alignment",
    "Builder",
    "Command",
    "Condition",
    "Correction",
    "Method",
    "NoOptions",
    "Operation",
    "Prepared",
    "Reporter",
    "Role",
    "State",
    "Tokenizer",
    "Verdict",
    "Work",
    "hookimpl",
    "make_options",
    "option",
]
