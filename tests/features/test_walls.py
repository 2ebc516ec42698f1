"""Classes are abstract or final: none of these reaches into what a class of another file keeps to itself."""

import ast
import pathlib

import connectivity_hooks
from connectivity_hooks.features import Capture
from connectivity_hooks.features.passes import Passes
from connectivity_hooks.features.sampled import Sampled
from connectivity_hooks.features.store import LastPass
from connectivity_hooks.features.window import Window

CORE = pathlib.Path(connectivity_hooks.__file__).parent
FILES = sorted([*CORE.glob("features/*.py"), *CORE.glob("watching/*.py")])


def private(name):
    return name.startswith("_") and not name.startswith("__")


def own(cls):
    """Return the private names that a class defines: methods, fields, and what it assigns to `self`."""
    found = {node.name for node in ast.walk(cls) if isinstance(node, ast.FunctionDef)}
    found |= {node.target.id for node in cls.body if isinstance(node, ast.AnnAssign)}
    targets = [node for node in ast.walk(cls) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return found | {node.attr for node in targets if getattr(node.value, "id", "") == "self"}


def used(cls):
    """Return the private names that a class asks of itself, or of the class above."""
    asked = [node for node in ast.walk(cls) if isinstance(node, ast.Attribute) and private(node.attr)]
    return {node.attr for node in asked if ast.unparse(node.value) in ("self", "super()")}


def classes(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def derived(file):
    """Yield the classes of a file whose class above is in another file, with that one where it is ours."""
    here = classes(file)
    above = {name: cls for other in FILES if other != file for name, cls in classes(other).items()}
    for cls in here.values():
        for base in cls.bases:
            if getattr(base, "id", None) in above and base.id not in here:
                yield cls, above[base.id]


def test_no_class_uses_or_replaces_what_a_class_of_another_file_keeps_to_itself():
    pairs = [(file, *pair) for file in FILES for pair in derived(file)]
    assert {"Sampled", "Window", "Passes"} <= {cls.name for _, cls, _ in pairs}
    for file, cls, above in pairs:
        of_above = {name for name in own(above) if private(name)}
        assert not used(cls) - own(cls), f"{file.name}: {cls.name}"
        assert not own(cls) & of_above, f"{file.name}: {cls.name} has names of its own that {above.name} keeps"


def test_what_is_final_has_nothing_below():
    for kind in (Capture, Passes, Sampled, LastPass, Window):
        assert not kind.__subclasses__()
