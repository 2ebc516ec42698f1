"""The command line: ``connect A B`` and ``connectivity-hooks COMMAND``."""

from connectivity_hooks.cli.entry import connect, main, main_of_several

__all__ = ["connect", "main", "main_of_several"]
