"""Methods of plugins that end the program, or raise anything: one line names the method, and the status is 3."""

import sys

import click
import pytest

from connectivity_hooks.contracts import Adapter, Reporter
from connectivity_hooks.registry import registry
from connectivity_hooks.registry.loading import Origin
from connectivity_hooks.registry.registry import Entry

QUICK = ["--points", "3", "--refine", "0"]
ENDINGS = {"exit-0": SystemExit(0), "exit-4": SystemExit(4), "closes": GeneratorExit(), "raises": RuntimeError("boom")}
METHODS = {
    "builder": ("builders", "linear", "build", []),
    "aligner": ("aligners", "weight-matching", "align", ["--align", "weight-matching"]),
    "correction": ("corrections", "batch-norm", "prepare", ["--correct", "batch-norm"]),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("kind", METHODS)
def test_a_method_that_ends_is_named(kind, ending, run, ends, tmp_path, monkeypatch):
    found, name, call, words = METHODS[kind]
    entries = getattr(registry(), found)
    monkeypatch.setattr(entries[name].cls, call, _raising(ending))
    status, out, err = run(*ends, *QUICK, *words, "--out", tmp_path / "out")
    last = err.strip().splitlines()[-1]
    assert (status, out) == (3, "")
    assert last.startswith(f"error: {kind} {name}: ")
    assert type(ending).__name__ in last


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_reporter_that_ends_is_named(ending, run, ends, tmp_path, monkeypatch):
    class Ending(Reporter):
        """Ends."""

        name = "ending"
        write = _raising(ending)

    monkeypatch.setitem(registry().reporters, "ending", Entry("ending", Ending, Origin("x", "x", "1", "x")))
    status, out, err = run(*ends, *QUICK, "--reporter", "ending", "--out", tmp_path / "out")
    assert (status, out) == (3, "")
    assert err.strip().splitlines()[-1].startswith(f"error: reporter ending: {type(ending).__name__}")


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_adapter_that_ends_is_named(ending, run, workspace, monkeypatch):
    class Ending(Adapter):
        """Ends."""

        prefix = "ending"
        claims = create = layers = inputs = model_of = _raising(ending)

    monkeypatch.setitem(registry().adapters, "ending", Entry("ending", Ending, Origin("x", "x", "1", "x")))
    words = [workspace / "a.safetensors", workspace / "b.safetensors", "--data", workspace / "data.npz"]
    status, out, err = run("connect", *words, "--model", "ending:net")
    assert (status, out) == (3, "")
    assert "ending" in err
    assert type(ending).__name__ in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_condition_that_ends_is_invalid(ending, run, ends, tmp_path, monkeypatch):
    name = "feature-rank"
    monkeypatch.setattr(registry().conditions[name].cls, "check", _raising(ending))
    status, _, _ = run(*ends, *QUICK, "--condition", name, "--out", tmp_path / "out")
    assert status == 0
    assert type(ending).__name__ in (tmp_path / "out" / "report.json").read_text()


def test_interruptions_are_no_faults_of_a_method(run, ends, monkeypatch):
    monkeypatch.setattr(registry().builders["linear"].cls, "build", _raising(KeyboardInterrupt()))
    assert run(*ends, *QUICK)[0] == 130


def test_a_command_that_ends_is_named(run, monkeypatch):
    @click.command()
    def command():
        sys.exit(0)

    name = next(iter(registry().commands))
    monkeypatch.setattr(registry().commands[name].cls, "command", classmethod(lambda cls: command))
    status, _, err = run(name)
    assert (status, err) == (3, f"error: command {name}: SystemExit: 0\n")


@pytest.mark.parametrize("returned", [None, 7], ids=str)
@pytest.mark.parametrize("which", ["linear", "best"])
def test_what_a_builder_breaks_has_one_status(returned, which, run, ends, monkeypatch):
    for entry in registry().builders.values():
        monkeypatch.setattr(entry.cls, "build", lambda self, a, b, task: returned)
    status, _, err = run(*ends, *QUICK, "--builder", which)
    assert status == 3
    assert f"build() returned a {type(returned).__name__}" in err


def _raising(error):
    def call(*_, **__):
        raise error

    return call


def test_an_interruption_says_what_is_kept(run, ends, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(registry().builders["bezier"].cls, "build", interrupted)
    words = [*ends, *QUICK, "--builder", "linear", "--builder", "bezier"]
    out = tmp_path / "out"
    assert run(*words, "--out", out)[2].strip().endswith(f"interrupted; what was finished is kept in {out}")
    assert run(*words)[2].strip().endswith("interrupted; what was finished is kept in --out, where one was given")
    nothing = [*ends, *QUICK, "--builder", "bezier", "--out", tmp_path / "other"]
    assert run(*nothing)[2].strip().endswith("interrupted; nothing was finished")


def test_too_few_weights_are_wrong_usage(run, ends, tmp_path):
    run("simplex", *ends[1:], "--simplex.budget", "1steps", "--out", tmp_path / "out")
    volume = next((tmp_path / "out").glob("*.safetensors"))
    status, _, err = run("simplex-sample", volume, "--weights", "1", "--out", tmp_path / "drawn")
    assert status == 2
    assert err.startswith("error: --weights: expected ")
