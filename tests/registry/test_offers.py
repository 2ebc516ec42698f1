"""What a plugin offers is checked kind by kind before anyone can choose it."""

import types

import pytest

from connectivity_hooks.contracts import Builder, Correction, hookimpl
from connectivity_hooks.contracts.options import option
from connectivity_hooks.registry.loading import PluginFault, load
from connectivity_hooks.registry.offers import CONTRACTS, offers_of


class Fine(Correction):
    """A correction."""

    name = "fine"

    def prepare(self, moving):
        raise NotImplementedError


def offered(*classes, raises=None):
    @hookimpl
    def register_corrections():
        if raises:
            raise raises
        return list(classes)

    manager, plugin = load([]).manager, types.ModuleType("mine")
    plugin.register_corrections = register_corrections
    manager.register(plugin, "mine")
    return offers_of(manager, "mine")


def variant(**attributes):
    return type("Variant", (Fine,), attributes)


def test_a_correction_is_offered_under_its_name_and_nothing_else_is():
    found = offered(Fine)
    assert found.pop("correction") == {"fine": Fine}
    assert found == {kind: {} for kind in CONTRACTS if kind != "correction"}


def test_every_kind_of_contract_has_its_hook():
    hooks = load([]).manager.hook
    assert all(getattr(hooks, f"register_{kind}s").spec is not None for kind in CONTRACTS)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ((variant(name="none"),), "register_corrections: Variant.name: 'none' stands for no correction"),
        ((variant(name="Two Words"),), "found 'Two Words'"),
        ((Fine, variant()), "two corrections are named 'fine': Fine and Variant"),
        ((Correction,), "register_corrections: Correction does not define prepare"),
        ((dict,), "expected subclasses of Correction"),
    ],
)
def test_what_cannot_be_chosen_is_named_with_its_hook(classes, words):
    with pytest.raises(PluginFault) as fault:
        offered(*classes)
    assert words in str(fault.value)


def test_an_option_may_not_be_called_seed():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Options:
        seed: int = option(0, "A seed.")

    with pytest.raises(PluginFault, match="'seed' is every method's own"):
        offered(variant(Options=Options))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "all"}, "Line.name: 'all' stands for several; choose another name"),
        ({"name": "best"}, "Line.name: 'best' stands for several; choose another name"),
        ({"name": "line", "role": "lime"}, "Line.role: expected 'line', 'proof', 'curve' or None, found 'lime'"),
    ],
)
def test_a_builder_has_a_name_of_its_own_and_a_role_there_is(attributes, words):
    cls = type("Line", (Builder,), {"build": lambda self, a, b, task: None, **attributes})
    plugin = types.ModuleType("mine")
    plugin.register_builders = hookimpl(lambda: [cls], specname="register_builders")
    manager = load([]).manager
    manager.register(plugin, "mine")
    with pytest.raises(PluginFault) as fault:
        offers_of(manager, "mine")
    assert str(fault.value) == f"register_builders: {words}"


def test_a_hook_that_fails_is_one_line():
    with pytest.raises(PluginFault, match=r"^register_corrections: RuntimeError: no luck$"):
        offered(raises=RuntimeError("no\nluck"))
