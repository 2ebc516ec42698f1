"""Copies that cannot be compared are refused in one line, before anything is computed."""

import math
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError


def nan(place):
    weights = load_file(place / "seed_2.safetensors")
    weights["4.weight"][0, 0] = math.nan
    save_file(weights, place / "seed_2.safetensors")


def other_shape(place):
    weights = load_file(place / "seed_2.safetensors")
    weights["4.weight"] = weights["4.weight"][:, :5].contiguous()
    save_file(weights, place / "seed_2.safetensors")


def one_copy(place):
    for seed in (2, 3):
        (place / f"seed_{seed}.safetensors").unlink()


def no_copy(place):
    for seed in (1, 2, 3):
        (place / f"seed_{seed}.safetensors").unlink()


def equal(place):
    save_file(load_file(place / "seed_1.safetensors"), place / "seed_3.safetensors")


def cut_short(place):
    whole = (place / "seed_2.safetensors").read_bytes()
    (place / "seed_2.safetensors").write_bytes(whole[:-7])


def of_another_step(place):
    shutil.copy(place.parent / "k_00000000" / "seed_1.safetensors", place / "seed_1.safetensors")


def of_another_state(place):
    file = place / "seed_2.safetensors"
    with safe_open(file, "pt") as stream:
        metadata = stream.metadata()
    save_file(load_file(file), file, metadata | {"connectivity_hooks.start": "0" * 64})


def start_saved_again(place):
    save_file(load_file(place / "start.safetensors"), place / "start.safetensors")


def twice(place):
    shutil.copytree(place, place.parent / "k_40")


BAD = {
    nan: "tensor 4.weight holds 1 NaN or Inf",
    other_shape: r"4.weight \(expected \(24, 24\), found \(24, 5\)\)",
    one_copy: "k_00000040: holds one copy, seed_1; a barrier lies between two",
    no_copy: "k_00000040: holds no copy",
    equal: "seed_1 and seed_3 are equal bit for bit: the order of their data did not differ",
    cut_short: "seed_2.safetensors",
    of_another_step: "is a copy from step 0, not 40",
    of_another_state: "seed_1 and seed_2 grew from different states",
    start_saved_again: "is not the state that the copies beside it grew from",
    twice: "k_00000040 and k_40 are one k",
}


@pytest.mark.parametrize("harm", BAD, ids=lambda harm: harm.__name__)
def test_copies_that_cannot_be_compared_are_refused_before_anything_is_computed(training, runs, monkeypatch, harm):
    called = "connectivity_hooks.connecting.measured.evaluate"
    monkeypatch.setattr(called, lambda *a, **k: pytest.fail("evaluated"))
    harm(runs / "k_00000040")
    with pytest.raises(InputError, match=BAD[harm]) as found:
        ch.stability_of(runs, training.task)
    assert "\n" not in str(found.value)


def test_a_folder_without_copies_and_an_unknown_k_are_named(training, runs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no folder k_00000000"):
        ch.stability_of(tmp_path / "empty", training.task)
    with pytest.raises(InputError, match="cannot be read"):
        ch.stability_of(tmp_path / "nowhere", training.task)
    with pytest.raises(UsageError, match="has no k = 7; there are 0, 40"):
        ch.stability_of(runs, training.task, k=[0, 7])
