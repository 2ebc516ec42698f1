"""A name that nothing answers to: what may have been meant, or what to do where nothing of the kind is installed."""

import pytest

from connectivity_hooks.errors import UsageError
from connectivity_hooks.registry.loading import load
from connectivity_hooks.registry.registry import Registry


@pytest.mark.parametrize("kind", ["condition", "builder", "aligner", "reporter", "adapter"])
def test_where_none_of_a_kind_is_installed_the_next_step_is_said(kind):
    with pytest.raises(UsageError, match="no installed plugin offers one; leave it out, or install") as refused:
        getattr(Registry(load([])), kind)("weight-matching")
    assert "'connectivity-hooks plugins'" in str(refused.value)
