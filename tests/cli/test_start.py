"""How quickly a command answers: what it does not need is not imported."""

import subprocess
import sys

import pytest

_LISTED = """
import sys
import torch
of_torch = set(sys.modules)
from connectivity_hooks.registry import registry
assert registry().conditions
print(*sorted(set(sys.modules) - of_torch))
"""


@pytest.fixture(scope="module")
def imported():
    """Give what listing all methods imports beyond PyTorch itself."""
    run = subprocess.run([sys.executable, "-c", _LISTED], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["torch._dynamo", "triton", "matplotlib", "timm", "scipy", "sklearn"])
def test_listing_the_methods_does_not_wait_for(module, imported):
    assert "connectivity_hooks.registry" in imported
    assert module not in imported


def test_the_package_alone_imports_no_pytorch():
    code = "import sys, connectivity_hooks, connectivity_hooks.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
