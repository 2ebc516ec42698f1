"""The documentation says what the code does."""

import importlib.util
import inspect
import pathlib
import re
import runpy
import shlex

import click
import pytest
import torch
from kinds import FLAGS, inside, status_of, workspace

import connectivity_hooks as ch
from connectivity_hooks.evaluation.sampling import corrected_sample
from connectivity_hooks.features import Observation
from connectivity_hooks.paths import Path
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task, custom_loss
from connectivity_hooks.testing import ConditionSuite

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
    """Return a command's flags that help tells, without those of strangers' methods."""
    options = [flag for flag in command.get_params(click.Context(command)) if isinstance(flag, click.Option)]
    flags = [flag for flag in options if not flag.hidden]
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


def made_by_the_plugin_page(name):
    """Return the class of that name that the page's code makes."""
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(next(block for block in blocks if f"class {name}(" in block and "import" in block), names)
    return names[name]


class TestConditionOfThePluginPage(ConditionSuite):
    condition = made_by_the_plugin_page("Sparsity")


def test_the_condition_of_the_plugin_page_measures_zeros():
    task = Task(Model, CachedSplit("train", torch.randn(9, 4), torch.arange(9) % 3))
    observation = Observation(torch.nn.Sequential(torch.nn.ReLU(), Model()), task.train, task.loss, ["0"])
    (verdict,) = made_by_the_plugin_page("Sparsity")().check(observation)
    assert verdict.measured == pytest.approx(float((task.train.inputs <= 0).double().mean()))


def test_the_correction_of_the_plugin_page_does_what_it_says():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    task = Task(Model, CachedSplit("train", x, torch.arange(40) % 3), batch_size=16)
    ends = [{"fc.weight": torch.full((3, 4), float(i)), "fc.bias": torch.full((3,), i**2 + 1.0)} for i in range(2)]
    path = Path.from_points([ends[0], {**ends[0], "fc.bias": torch.zeros(3)}, ends[1]])
    weights = corrected_sample(path, 0.5, task, made_by_the_plugin_page("Shift")())
    means = [(x @ each["fc.weight"].T + each["fc.bias"]).mean(0) for each in (ends[0], weights, ends[1])]
    torch.testing.assert_close(means[1], (means[0] + means[2]) / 2)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)


def test_the_page_on_watching_names_every_argument():
    page = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    names = [name for name in inspect.signature(ch.watch).parameters if name != "model"]
    assert [name for name in names if not re.search(rf"`{name}[`=]", page)] == []


def test_the_recipes_for_ignored_pixels_give_the_mean_over_the_others():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    names = {"torch": torch}
    for block in re.findall(r"```python\n(def (?:collate|loss).*?)```", page, re.DOTALL):
        exec(block, names)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, 2, 5, generator=generator)
    marked = torch.randint(3, (4, 2, 5), generator=generator)
    marked[torch.rand(marked.shape, generator=generator) < 0.4] = 255
    wanted = torch.nn.functional.cross_entropy(outputs.double(), marked, ignore_index=255)
    own = custom_loss("loss", names["loss"], convex=True)
    assert float(own.measure(outputs, marked).mean()) == pytest.approx(float(wanted), rel=1e-12)
    _, targets = names["collate"]([(outputs[row], marked[row].clone()) for row in range(4)])
    assert float(LOSSES["cross-entropy"].measure(outputs, targets).mean()) == pytest.approx(float(wanted), rel=1e-12)


def sections_of_my_model(page="my-model.md"):
    """Return for each file that the shell lines of a page name the blocks of its sections, in the page's order.

    A Python block says in its first line what file it is in. It belongs to the shell lines that follow it or, at the
    end of a section, to those before; a section that names no file belongs to the one before.
    """
    found = {}
    before, *sections = re.split(r"^##+ ", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    waiting = re.findall(r"```(python)\n(.*?)```", before, re.DOTALL)
    for section in sections:
        blocks = re.findall(r"```(python|sh)\n(.*?)```", section, re.DOTALL)
        name = ""
        for language, text in blocks:
            lines = text.replace("\\\n", " ").splitlines() if language == "sh" else [text]
            for line in lines:
                data = re.search(r"--data '?(\w+)", line) if language == "sh" else None
                name = data[1] if data else name
                waiting.append((language, line))
                if name:
                    last = name
                    found.setdefault(name, []).extend(waiting)
                    waiting = []
        if waiting:
            found[last].extend(waiting)
            waiting = []
    return found


def run_block(language, text, given):
    """Run a line of shell, or put a block of Python where its first line says: behind a user's file, or in a script.

    ``given()`` are the names that a script finds.
    """
    if language == "sh":
        words = shlex.split(text, comments=True)
        expected = re.search(r"# exit status (\d+)$", text)
        assert status_of(words) == int(expected[1] if expected else 0), text
        return
    file = pathlib.Path(re.fullmatch(r"# (\w+\.py)", text.splitlines()[0])[1])
    if file.exists():
        file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{text}", encoding="utf-8")
        return
    exec(text, given())


def given_to_a_script(name):
    """Return the names that the training of a kind of docs/my-model.md has."""
    users = runpy.run_path(f"{name}.py")
    return {**users, "model": users["make"](), "loader": torch.utils.data.DataLoader(users["train_set"], 10)}


@pytest.mark.parametrize("name", sections_of_my_model())
def test_the_lines_of_my_model_run(name, tmp_path, capfd):
    with inside(workspace(name, tmp_path)):
        for language, text in sections_of_my_model()[name]:
            run_block(language, text, lambda: given_to_a_script(name))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", sections_of_my_model("my-model-transformers.md"))
def test_the_lines_of_models_from_transformers_run(name, tmp_path, capfd):
    for library in ("transformers", "tokenizers", *{"replies": ["peft"], "reviews": ["datasets"]}.get(name, [])):
        pytest.importorskip(library)
    import transformers_kinds

    transformers_kinds.workspace(name, tmp_path)
    with inside(tmp_path):
        capfd.readouterr()
        for language, text in sections_of_my_model("my-model-transformers.md")[name]:
            run_block(language, text, lambda: transformers_kinds.given_to_a_script(name))
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "[transformers]" not in err
    assert re.search(r"(?m)^(adapter_)?model\.safetensors: ", err) is None, "of which folder?"


def test_every_kind_of_models_from_transformers_is_on_the_page():
    pytest.importorskip("transformers")
    import transformers_kinds

    assert transformers_kinds.MODELS.keys() == sections_of_my_model("my-model-transformers.md").keys()


def test_every_kind_that_is_tested_has_its_line_and_its_flags_on_the_page():
    lines = sections_of_my_model()
    for kind, flags in FLAGS.items():
        connecting = [text for language, text in lines[kind] if language == "sh" and text.startswith("connect ")]
        wanted = [f"--{name} {value}" for name, value in flags.items()]
        assert all(word in connecting[0] for word in wanted), kind
