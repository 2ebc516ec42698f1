"""Memory is asked for before it is taken."""

import pytest

from connectivity_hooks import memory
from connectivity_hooks.errors import InputError


def test_what_does_not_fit_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2 * 10**9)
    memory.require_memory(2 * 10**9, "data.npz", "give fewer samples")
    with pytest.raises(InputError, match=r"^data\.npz: needs 3 GB of memory, 2 GB are free; give fewer samples$"):
        memory.require_memory(3 * 10**9, "data.npz", "give fewer samples")
    with pytest.raises(InputError, match="needs more than 1000 TB"):
        memory.require_memory(10**400, "data.npz", "give fewer samples")


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.require_memory(10**30, "data.npz", "")


def test_the_limit_of_a_container_counts_and_its_page_cache_does_not(monkeypatch, tmp_path):
    for name, text in (
        ("memory.max", "5000"),
        ("memory.current", "4000"),
        ("memory.stat", "anon 1\ninactive_file 500"),
    ):
        (tmp_path / name).write_text(text + "\n")
    group = (str(tmp_path), "memory.max", "memory.current", "inactive_file")
    monkeypatch.setattr(memory, "_GROUPS", (group,))
    assert memory.available_memory() == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() != 1500
