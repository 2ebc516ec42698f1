"""``connect --calibrate``: both barriers, and what it cannot be asked together with."""

import json

import pytest


def test_both_barriers_are_told(run, ends, tmp_path):
    status, out, _ = run(*ends, "--calibrate", "0.3", "--points", "5", "--refine", "1", "--out", tmp_path)
    assert status == 0
    assert "at calibrated temperatures" in out
    content = json.loads((tmp_path / "report.json").read_text())
    linear = content["builders"]["linear"]
    told = linear["calibrated"]
    assert told["held_out"] == round(0.3 * content["task"]["samples"]["train"])
    assert len(told["t"]) == len(told["temperatures"]) == len(told["train"]["losses"])
    assert {"temperature_a", "temperature_b", "temperature_worst", "barrier_entezari"} <= told["train"].keys()
    status, out, _ = run(*ends, "--points", "5", "--refine", "1", "--json")
    plain = json.loads(out)["builders"]["linear"]
    assert plain["calibrated"] is None
    assert plain["train"] == linear["train"]


def test_a_resumed_run_has_it_too(run, ends, tmp_path):
    first = run(*ends, "--points", "5", "--calibrate", "0.3", "--json", "--out", tmp_path)[1]
    again = run(*ends, "--points", "5", "--calibrate", "0.3", "--json", "--out", tmp_path)[1]
    one, other = (json.loads(text)["builders"]["linear"]["calibrated"] for text in (first, again))
    assert one == other


@pytest.mark.parametrize("share", ["0", "1", "2", "nan"])
def test_a_share_that_cannot_be_is_wrong_usage(run, ends, share):
    status, _, err = run(*ends, "--calibrate", share)
    assert status == 2
    assert "calibrate" in err


def test_a_shard_refuses_it(run, ends, tmp_path):
    status, _, err = run(*ends, "--calibrate", "0.1", "--shard", "1/2", "--out", tmp_path)
    assert status == 2
    assert "--calibrate" in err
