"""The documentation says what the code does."""

import importlib.metadata
import importlib.util
import pathlib
import re

import pytest

from connectivity_hooks.registry import registry

ROOT = pathlib.Path(__file__).parent.parent
CLICK = tuple(map(int, importlib.metadata.version("click").split(".")[:2]))


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("cli.md", marks=pytest.mark.skipif(CLICK < (8, 5), reason="click lists arguments since 8.5")),
        "hooks.md",
    ],
)
def test_generated_pages_are_current(generate, page):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == generate.PAGES[page](), "run python docs/generate.py"


def test_every_command_of_the_readme_exists(generate):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"connectivity-hooks ([a-z]+)", readme))
    assert named
    assert named <= {*generate.COMMANDS, *registry().commands}


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
