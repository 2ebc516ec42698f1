"""Hook implementations only; everything else is imported when it is asked for."""

from connectivity_hooks.contracts import hookimpl


@hookimpl
def register_conditions():
    from connectivity_hooks_example.sparsity import Sparsity

    return [Sparsity]


@hookimpl
def register_builders():
    from connectivity_hooks_example.detour import Detour

    return [Detour]
