"""The walls of the house: no circle of imports, and one place where a module is run."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = (ROOT, ROOT / "plugins", ROOT / "integrations")
MODULES = {
    ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): file
    for source in SOURCES
    for package in source.glob("connectivity_hooks*")
    if package.is_dir()
    for file in package.rglob("*.py")
}
# What a module to be run is called in this code.
RUN = {"model", "module", "net", "network", "_model", "_module"}


def imported(file):
    """Return the modules that are imported when a file is; a name of a package may be a module of it."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & MODULES.keys()
            if not inner <= MODULES.keys():
                found.add(node.module)
    return found & MODULES.keys()


def circle(graph):
    """Return a circle of a graph, or an empty list."""
    done, way = set(), []

    def visit(node):
        if node in way:
            return way[way.index(node) :]
        if node in done:
            return []
        way.append(node)
        found = next(filter(None, map(visit, sorted(graph[node]))), [])
        way.pop()
        done.add(node)
        return found

    return next(filter(None, map(visit, sorted(graph))), [])


def test_no_imports_run_in_a_circle():
    assert len(MODULES) > 200
    assert circle({name: imported(file) for name, file in MODULES.items()}) == []


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def runs(source):
    """Yield the lines where something called like a module is called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            # ``task.model()`` makes one: without arguments nothing is run.
            if name in RUN and (node.args or node.keywords):
                yield node.lineno


def test_modules_are_run_in_one_place():
    files = (file for file in MODULES.values() if "model" not in file.relative_to(ROOT).parts)
    found = {str(file.relative_to(ROOT)): list(runs(file.read_text(encoding="utf-8"))) for file in files}
    assert not {file: lines for file, lines in found.items() if lines}, "use model.forward, or Task.forward"


def test_a_module_that_is_run_would_be_found():
    assert list(runs("task.model()\nself.model(x)\noutputs = model(**inputs)")) == [2, 3]
