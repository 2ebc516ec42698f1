"""The recipe of docs/stability.md, run as it is written."""

import pathlib
import re
import shlex

import pytest
import torch

import connectivity_hooks as ch
from connectivity_hooks.cli.entry import exit_status
from connectivity_hooks.cli.group import group

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "stability.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_recipe_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    training, analysis = blocks("python")
    names = {}
    with torch.random.fork_rng():
        exec(training, names)
        assert ch.copies("runs", seeds=(1, 2, 3)) == ()
        exec(analysis, names)
    assert capsys.readouterr().out.startswith(("Stable from", "Not stable from"))
    assert names["found"].steps == (0, 20, 80)
    (command,) = blocks("sh")
    assert exit_status("connectivity-hooks", lambda: group, shlex.split(command)[1:]) == 0
    assert (tmp_path / "stability" / "stability.html").exists()
    for line in blocks("text")[0].splitlines():
        assert (tmp_path / line.split()[0]).exists()
