"""What the commands of plugins are made of: the flags, the display and the output folder of the commands of ours."""

from connectivity_hooks.cli.folder import OutputFolder
from connectivity_hooks.cli.json_option import json_option
from connectivity_hooks.cli.measuring_options import correct_option, correction_of, measuring, measuring_options
from connectivity_hooks.cli.method_options import make_method, method_command, refuse_stray_options, single
from connectivity_hooks.cli.numbers import Amount, Count, Number, Seed
from connectivity_hooks.cli.plugin_options import plugin_options
from connectivity_hooks.cli.shard import require_shardable, shard_option
from connectivity_hooks.cli.task_options import (
    augment_option,
    optional_task_options,
    task_flags,
    task_of,
    task_options,
)
from connectivity_hooks.cli.terminal import NOT_MET, Display, plain, print_json, terminal_width

__all__ = [
    "NOT_MET",
    "Amount",
    "Count",
    "Display",
    "Number",
    "OutputFolder",
    "Seed",
    "augment_option",
    "correct_option",
    "correction_of",
    "json_option",
    "make_method",
    "measuring",
    "measuring_options",
    "method_command",
    "optional_task_options",
    "plain",
    "plugin_options",
    "print_json",
    "refuse_stray_options",
    "require_shardable",
    "shard_option",
    "single",
    "task_flags",
    "task_of",
    "task_options",
    "terminal_width",
]
