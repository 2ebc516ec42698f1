"""The documentation says what the code does."""

import importlib.util
import pathlib
import re

import click
import pytest

from connectivity_hooks.registry import registry

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_hooks_is_current(generate):
    written = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert written == generate.PAGES["hooks.md"](), "run python docs/generate.py"


def test_the_page_of_the_command_line_has_every_flag_with_its_help_and_no_other(generate):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    known = {"--help", "--version"}
    for name, command in generate.commands().items():
        section = "".join(page.partition(f"## connectivity-hooks {name}\n")[2].partition("\n## ")[0].split())
        assert "".join((command.help or "").replace("\b", "").split()) in section, (
            f"{name}: run python docs/generate.py"
        )
        for flag in ours(command):
            known |= {*flag.opts, *flag.secondary_opts}
            for text in (*flag.opts, flag.help or ""):
                assert "".join(text.split()) in section, f"{name} {flag.opts}: run python docs/generate.py"
    assert set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", page)) <= known


def ours(command):
    """Return a command's flags without those of strangers' methods."""
    flags = [flag for flag in command.get_params(click.Context(command)) if isinstance(flag, click.Option)]
    known = registry()
    kinds = (known.builders, known.aligners, known.conditions, known.corrections, known.reporters)
    methods = {
        name for kind in kinds for name, entry in kind.items() if entry.origin.distribution == "connectivity-hooks"
    }
    named = [(flag, flag.opts[0].removeprefix("--").partition(".")) for flag in flags]
    return [flag for flag, (name, dot, _) in named if not dot or name in methods]


def test_every_command_of_the_readme_exists(generate):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"connectivity-hooks ([a-z]+)", readme))
    assert named
    assert named <= generate.commands().keys()


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
