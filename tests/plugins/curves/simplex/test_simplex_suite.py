"""The builder passes the suite that strangers' builders pass."""

from connectivity_hooks.testing import BuilderSuite
from connectivity_hooks_curves.simplex.builder import Simplex


class TestSimplex(BuilderSuite):
    builder = Simplex
    options = {"budget": "7steps", "batch_size": 32}  # noqa: RUF012


class TestSimplexOfOneConnector(BuilderSuite):
    builder = Simplex
    options = {"budget": "1epochs", "connectors": 1, "volume": 0.0, "precision": "bfloat16"}  # noqa: RUF012
