"""Conformance suites that a plugin's author runs on the methods the plugin registers.

Subclass a suite in a test file and name the class under test; pytest collects the rest::

    from connectivity_hooks.testing import BuilderSuite

    class TestCorner(BuilderSuite):
        builder = Corner
"""

from connectivity_hooks.testing.adapters import AdapterSuite
from connectivity_hooks.testing.aligners import AlignerSuite
from connectivity_hooks.testing.builders import BuilderSuite
from connectivity_hooks.testing.conditions import ConditionSuite
from connectivity_hooks.testing.corrections import CorrectionSuite
from connectivity_hooks.testing.operations import OperationSuite

__all__ = ["AdapterSuite", "AlignerSuite", "BuilderSuite", "ConditionSuite", "CorrectionSuite", "OperationSuite"]
