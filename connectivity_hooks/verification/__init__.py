"""Verifying a path file: its guarantees and its bound, from the file, the model and the data alone."""

from connectivity_hooks.verification.findings import Finding, Verification
from connectivity_hooks.verification.verify import verify

__all__ = ["Finding", "Verification", "verify"]
