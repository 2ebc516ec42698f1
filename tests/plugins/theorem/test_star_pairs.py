"""What ``star`` says of two checkpoints when one of their ways to the hub is not proven."""

from types import SimpleNamespace

from connectivity_hooks_theorem.commands.star import _pairs, _sentence


def ray(name, bound):
    return SimpleNamespace(name=name, evaluation=SimpleNamespace(bound={"train": bound}))


def test_a_pair_has_a_bound_only_where_both_halves_have_one():
    pairs = _pairs([ray("a", 0.0), ray("b", 0.5), ray("c", None)])
    assert [pair["bound"] for pair in pairs] == [0.5, None, None]
    assert "proven never to exceed 0.5" in _sentence(pairs[0])
    assert "nothing is proven" in _sentence(pairs[1])
