"""Plugins and integrations import the names that docs/plugins.md lists, and no others: one list, for all."""

import ast
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
# Source roots, each a folder of packages that import the core as a stranger would.
ROOTS = ("plugins", "integrations", "tests/third_party")
CORE = "connectivity_hooks"


def listed():
    """Return the public names by module, as the page has them."""
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").partition("<!-- public names")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", page, re.MULTILINE)
    found = {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}
    return found | {CORE: set(importlib.import_module(CORE).__all__)}


PUBLIC = listed()


def imported(source):
    """Yield (line, module, name) of every import of the core, and of every use of it as ``ch.name``."""
    tree = ast.parse(source)
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == CORE:
                    aliases[alias.asname or CORE] = alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == CORE:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield node.lineno, aliases[node.value.id], node.attr


def strangers(source):
    return [(line, f"{module}.{name}") for line, module, name in imported(source) if name not in PUBLIC.get(module, ())]


@pytest.mark.parametrize("root", ROOTS)
def test_what_is_imported_is_public(root):
    files = sorted((ROOT / root).rglob("*.py"))
    assert files
    found = {str(file.relative_to(ROOT)): strangers(file.read_text(encoding="utf-8")) for file in files}
    assert not {file: names for file, names in found.items() if names}, "not in the table of docs/plugins.md"


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_what_is_listed_is_there(module):
    found = importlib.import_module(module)
    assert PUBLIC[module]
    assert not {name for name in PUBLIC[module] if not hasattr(found, name)}
    if hasattr(found, "__path__"):  # a package says what it shows
        assert set(found.__all__) >= PUBLIC[module]


@pytest.mark.parametrize(
    "source",
    [
        "from connectivity_hooks.features.hooks import eager",
        "from connectivity_hooks.features import hooks",
        "from connectivity_hooks import parallel",
        "import connectivity_hooks.cli.folder as folder\nfolder.OutputFolder",
        "def late():\n    from connectivity_hooks.cli.folder import LOCK",
        "import connectivity_hooks as ch\nch.registry",
    ],
)
def test_what_is_not_listed_is_found(source):
    assert strangers(source)


def test_what_is_listed_passes():
    assert not strangers("import connectivity_hooks as ch\nfrom connectivity_hooks.errors import InputError\nch.watch")
