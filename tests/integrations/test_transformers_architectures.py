"""Folders of many architectures: captured, watched, checked, connected, verified, and written back as such folders.

No line is written for any of them but the loader of dict batches, in tests/support/transformers_pairs.py.
"""

import pathlib

import pytest
import torch

pytest.importorskip("transformers")

import transformers_pairs
from transformers_pairs import PAIRS, loaders, write_pair

import connectivity_hooks as ch
from connectivity_hooks.model import forward

each = pytest.mark.parametrize("name", PAIRS)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Return a function that gives the folder with a network's two folders, a and b."""
    made = {}

    def find(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("pair")
            write_pair(name, made[name])
        return made[name]

    return find


def data(name):
    return f"{pathlib.Path(transformers_pairs.__file__)}:loaders?name={name}"


def loaded(name, folder):
    """Return what the library itself reads, in its own class, and make sure that nothing was missing."""
    cls = type(PAIRS[name][0]())
    model, found = cls.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return model.eval()


@each
def test_a_network_is_captured_and_watched_as_it_is(name, pair):
    model = loaded(name, pair(name) / "a").train()
    train, _ = loaders(name)
    with torch.no_grad(), ch.capture(model) as features:
        forward(model, dict(train[0]))
    assert features
    assert not features.problems
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with ch.watch(model, probe=train, every=1, conditions="feature-rank") as watch:
        for batch in train:
            given = {"return_loss": True} if name == "CLIP" else {}
            model(**batch, **given).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.step()
    assert not watch.faults
    assert watch.history
    assert {row.status for row in watch.history} <= {"holds", "fails"}


@each
def test_a_folder_is_checked(name, pair, run):
    status, out, err = run("check", pair(name) / "a", "--data", data(name), "--condition", "feature-rank")
    assert status in (0, 4), out + err
    assert "invalid" not in out, out


@each
def test_two_folders_are_connected_verified_and_points_are_folders_again(name, pair, run, tmp_path):
    a, b = pair(name) / "a", pair(name) / "b"
    status, out, err = run("connect", a, b, "--data", data(name), "--points", 3, "--out", tmp_path / "o")
    assert status in (0, 4), out + err
    path = tmp_path / "o" / "linear.path.safetensors"
    status, out, err = run("verify", path, "--checkpoint", a, "--checkpoint", b, "--data", data(name))
    assert status == 0, out + err
    ends = [loaded(name, end).state_dict() for end in (a, b)]
    for t in (0, 0.5, 1):
        status, _, err = run("sample", path, "-t", t, "--like", a, "-o", tmp_path / f"at{t}")
        assert status == 0, err
        found = loaded(name, tmp_path / f"at{t}").state_dict()
        assert found.keys() == ends[0].keys()
        for key, (first, second) in {key: (ends[0][key], ends[1][key]) for key in found}.items():
            if t == 0.5 and first.is_floating_point():
                expected = (first.double() + second.double()) / 2
                rounding = torch.finfo(first.dtype).eps * max(first.abs().max(), second.abs().max())
                torch.testing.assert_close(found[key].double(), expected, rtol=0, atol=float(rounding))
            else:
                assert torch.equal(found[key], (second if t == 1 else first)), key
