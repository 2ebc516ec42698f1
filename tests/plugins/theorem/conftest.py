"""One certified path, built once."""

import pytest
from small_networks import certified, mlp, trained, vector_task


@pytest.fixture(scope="session")
def built():
    """Return a task, two ends and the certified path between them."""
    task = vector_task(lambda: mlp(40, 33, 40))
    a, b = trained(task, 1), trained(task, 2)
    return task, a, b, certified().build(a, b, task)
