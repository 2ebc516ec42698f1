"""Plugins in real .dist-info folders on sys.path, as pip would leave them."""

import importlib.metadata
import sys

import pytest

from connectivity_hooks.contracts import hookspecs
from connectivity_hooks.errors import UsageError
from connectivity_hooks.registry.loading import installed, load
from connectivity_hooks.registry.registry import Registry

GOOD = """
from connectivity_hooks.contracts import Builder, hookimpl

class Straight(Builder):
    '''A line.'''
    name = "{name}"
    def build(self, a, b, task): ...

@hookimpl
def register_builders():
    return [Straight]
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that installs a plugin: a distribution with one module and its entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, source, plugin=None, module=None):
        module = module or distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{hookspecs.PROJECT}]\n{plugin or module} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()

    return install


def registry_of(*names):
    return Registry(load([entry for entry in installed() if entry.name in names]))


def test_a_plugin_is_found_with_its_origin(site):
    site("zz-good", GOOD.format(name="straight"))
    entry = registry_of("zz_good").builders["straight"]
    assert (entry.origin.distribution, entry.origin.version, entry.origin.module) == (
        "zz-good",
        "1.2",
        "zz_good",
    )


def test_two_plugins_of_one_name_name_both_distributions(site):
    site("zz-one", GOOD.format(name="one"), plugin="twin")
    site("zz-two", GOOD.format(name="two"), plugin="twin")
    with pytest.raises(UsageError, match=r"named 'twin'.*zz-(one|two) 1\.2.*zz-(one|two) 1\.2"):
        registry_of("twin")


def test_two_builders_of_one_name_name_both_distributions(site):
    site("zz-one", GOOD.format(name="same"))
    site("zz-two", GOOD.format(name="same"))
    with pytest.raises(UsageError, match=r"builders are named 'same'.*zz-one 1\.2.*zz-two 1\.2"):
        registry_of("zz_one", "zz_two")


BROKEN = {
    "import": ("import no_such_module_at_all", "no_such_module_at_all"),
    "exit": ("raise SystemExit(3)", "SystemExit"),
    "no hook": ("x = 1", "no hook"),
    "misspelt": (GOOD.format(name="x").replace("register_builders", "register_bilders"), "register_bilders"),
    "raises": (GOOD.format(name="x").replace("return [Straight]", "raise ValueError('oh')"), "oh"),
    "no class": (GOOD.format(name="x").replace("[Straight]", "[3]"), "3"),
    "wrong kind": (GOOD.format(name="x").replace("register_builders", "register_conditions"), "Straight"),
    "nothing": (GOOD.format(name="x").replace("return [Straight]", "pass"), "register_builders"),
    "bad name": (GOOD.format(name="No Name!"), "No Name!"),
    "extra argument": (
        GOOD.format(name="x").replace("register_builders()", "register_builders(more)"),
        "more",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_set_aside_and_the_others_serve(site, case):
    source, words = BROKEN[case]
    site("zz-bad", source)
    site("zz-good", GOOD.format(name="straight"))
    known = registry_of("zz_bad", "zz_good")
    assert list(known.builders) == ["straight"]
    (broken,) = known.broken
    assert broken.origin.distribution == "zz-bad"
    assert words in broken.reason
    assert "\n" not in broken.reason


def test_an_unknown_name_mentions_what_was_set_aside(site):
    site("zz-bad", "import no_such_module_at_all")
    with pytest.raises(UsageError, match=r"unknown builder 'x'.*set aside: .*zz-bad"):
        registry_of("zz_bad").builder("x")


def test_blocked_plugins_are_not_even_imported(site):
    site("zz-bad", "raise SystemExit(3)")
    known = Registry(load([entry for entry in installed() if entry.name == "zz_bad"], blocked=["zz_bad"]))
    assert not known.broken
    assert not known.builders


def test_a_plugin_that_fails_when_told_news_spoils_nothing(site):
    news = "\n@hookimpl\ndef path_built(path, seconds):\n    raise ValueError('oh')\n"
    site("zz-good", GOOD.format(name="straight") + news)
    with pytest.warns(UserWarning, match="failed in path_built: ValueError: oh"):
        registry_of("zz_good").notify("path_built", path=None, seconds=1.0)
