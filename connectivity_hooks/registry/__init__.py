"""Finding plugins, and finding a method by the name a user typed."""

from connectivity_hooks.registry.registry import Registry, registry

__all__ = ["Registry", "registry"]
