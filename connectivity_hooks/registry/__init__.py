"""Finding plugins, and finding a method by the name a user typed."""

from connectivity_hooks.registry.registry import Registry, function_of, registry

__all__ = ["Registry", "function_of", "registry"]
