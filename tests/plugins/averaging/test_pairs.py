"""Pairs of a set: the first checkpoint of several is scored once, and no figure changes by it."""

import pytest
from soups import files

from connectivity_hooks.connecting import Connecting, load_pair, measured_pair
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import Measuring
from connectivity_hooks.evaluation.scorer import Scorer
from connectivity_hooks_averaging.line import Line
from connectivity_hooks_averaging.pairs import all_pairs, measure_pairs
from connectivity_hooks_averaging.set import read_set


def test_shared_scores_change_no_figure_and_save_passes(trained, monkeypatch):
    folder, task = trained
    passes, forward = [], Scorer._forward
    monkeypatch.setattr(Scorer, "_forward", lambda self, t, kept: passes.append(t) or forward(self, t, kept))
    paths, how = files(folder, "c1", "s1", "c2"), Connecting(Line(), measuring=Measuring(4, 1))
    found = dict(measure_pairs(read_set(paths, task).entries, all_pairs(3), task, how))
    together = len(passes)
    for (a, b), pair in found.items():
        assert pair.barriers == measured_pair(load_pair(paths[a], paths[b], task), task, how).barriers
    assert (together, len(passes) - together) == (2 * (2 + 3), 2 * 6)  # on two splits: c1 is the first of two pairs


def test_a_file_that_changes_meanwhile_is_refused(trained, tmp_path):
    folder, task = trained
    for name in ("c1", "c2"):
        (tmp_path / f"{name}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    found = read_set(files(tmp_path, "c1", "c2"), task)
    (tmp_path / "c2.safetensors").write_bytes((folder / "c3.safetensors").read_bytes())
    with pytest.raises(InputError, match="changed while it was worked on"):
        list(measure_pairs(found.entries, all_pairs(2), task, Connecting(Line(), measuring=Measuring(3, 0))))
