"""What is there once the distribution is installed: commands, and `ch.average`."""

import connectivity_hooks as ch
from connectivity_hooks.registry import registry
from connectivity_hooks_averaging.soups.average import average


def test_the_plugin_offers_its_commands_and_its_function():
    assert {"average", "graph"} <= set(registry().commands)
    assert ch.average is average
