"""Augmentation: what it does to a batch, how it is named, and that nothing else notices."""

import pytest
import torch

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import make_task
from connectivity_hooks.tasks.augmenting import crop, flip, resolve_augment

X = torch.randn(400, 3, 8, 16, generator=torch.Generator().manual_seed(0))


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    found = flip(X)
    mirrored = (found == X.flip(3)).flatten(1).all(1)
    assert ((found == X).flatten(1).all(1) | mirrored).all()
    assert 120 < int(mirrored.sum()) < 280


def test_crop_shifts_every_image_by_its_own_distance_and_zeros_move_in():
    found = crop(X)
    shifts = {}
    for down in range(-1, 2):
        for right in range(-2, 3):
            moved = torch.zeros_like(X)
            rows, cols = slice(max(0, down), 8 + min(0, down)), slice(max(0, right), 16 + min(0, right))
            source = slice(max(0, -down), 8 + min(0, -down)), slice(max(0, -right), 16 + min(0, -right))
            moved[:, :, rows, cols] = X[:, :, source[0], source[1]]
            shifts[down, right] = (found == moved).flatten(1).all(1)
    assert torch.stack(list(shifts.values())).sum(0).eq(1).all()
    assert all(hits.any() for hits in shifts.values())


def test_augmentations_are_named_or_made_by_a_callable(tmp_path):
    (tmp_path / "own.py").write_text("def make(by):\n    return lambda x: x + by\n")
    assert resolve_augment(None) is None
    own = resolve_augment(f"{tmp_path / 'own.py'}:make?by=2")
    assert own(torch.zeros(3)).tolist() == [2, 2, 2]
    with pytest.raises(UsageError, match="did you mean 'flip'"):
        resolve_augment("flop")


WRONG = {
    "another shape": ("lambda x: x[:, :, :4]", r"gives \(4, 1, 4, 8\) torch.float32 for \(4, 1, 8, 8\) torch.float32"),
    "the program's end": ("lambda x: exit(3)", r"fails on inputs of shape \(4, 1, 8, 8\): SystemExit"),
    "no tensor": ("lambda x: x.tolist()", "gives list"),
    "not finite": ("lambda x: x / 0", "not finite"),
    "failing": ("lambda x: x.no_such_thing", r"fails on inputs of shape \(4, 1, 8, 8\): .*no_such_thing"),
    "not callable": ("3", "gives a int, expected a function"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_augmentation_is_refused_in_one_line(case, tmp_path):
    body, words = WRONG[case]
    (tmp_path / "own.py").write_text(f"def make():\n    return {body}\n")
    net = "nn.Sequential(nn.Flatten(), nn.Linear(64, 10))"
    (tmp_path / "net.py").write_text(f"from torch import nn\n\n\ndef make():\n    return {net}\n")
    with pytest.raises(InputError, match=words) as error:
        make_task(model=f"{tmp_path / 'net.py'}:make", data="digits", augment=f"{tmp_path / 'own.py'}:make")
    assert "\n" not in str(error.value)
