"""A path file is believed only where every claim holds, and each planted fault is named."""

from dataclasses import replace

import pytest
import torch
from small_networks import exact, trained

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.tasks.batched import BatchedSplit


def test_a_good_file_holds_and_its_bound_is_that_of_plain_passes(proven):
    found = ch.verify(proven.file, proven.task, checkpoints=proven.checkpoints, interior=10)
    assert found.holds, found.findings
    for split in proven.task.splits():
        losses = [exact(proven.task, point, split)[1] for point in proven.path.points()]
        assert found.bound[split.name] == pytest.approx(max(losses), rel=1e-4)
        assert losses[found.largest[split.name][1]] == pytest.approx(max(losses), rel=1e-4)  # points may be equal
    assert found.excess <= 1e-6
    assert found.ends == "the checkpoints bit for bit"
    assert found.segments["measured"] == 0


def test_the_verifier_leaves_the_models_of_the_user_alone(proven):
    kept = Path.load(proven.file)
    ch.verify(proven.file, proven.task)
    assert all(torch.equal(kept.start[name], tensor) for name, tensor in Path.load(proven.file).start.items())


def segment_of(path, kind):
    return path.guarantees.index(kind)


def faults(found, kind):
    return [str(finding) for finding in found.findings if finding.kind == kind]


def test_a_hidden_weight_that_moves_in_a_constant_segment_is_named(proven, tampered):
    index = segment_of(proven.path, "constant") + 1

    def change(points):
        points[index]["1.weight"][:, 0] += 0.1
        return points

    found = ch.verify(tampered(change), proven.task)
    assert not found.holds
    assert any("1.weight" in fault and f"segment {index - 1}" in fault for fault in faults(found, "constant"))
    assert any("outputs deviate" in fault for fault in faults(found, "constant"))
    assert set(found.bound.values()) == {None}


def test_a_change_too_small_to_see_in_the_outputs_is_found_in_the_structure(proven, tampered):
    index = segment_of(proven.path, "constant") + 1

    def change(points):
        alive = points[index]["3.weight"].abs().sum(0).argmax()
        points[index]["1.bias"][alive] += 1e-6
        return points

    found = ch.verify(tampered(change), proven.task)
    assert any("1.bias" in fault for fault in faults(found, "constant"))
    assert not any("deviate" in fault for fault in faults(found, "constant"))


def test_a_hidden_weight_that_moves_in_a_convex_segment_is_named(proven, tampered):
    index = segment_of(proven.path, "convex") + 1

    def change(points):
        for point in points[index:]:
            point["3.bias"] += 0.05
        return points

    found = ch.verify(tampered(change), proven.task)
    assert any("moves 3.bias, expected the output layer alone" in fault for fault in faults(found, "convex"))


def test_a_guarantee_that_is_claimed_too_high_is_refuted(proven, tampered):
    found = ch.verify(tampered(guarantees=lambda kinds: ["constant"] * len(kinds)), proven.task)
    assert any("7.weight" in fault for fault in faults(found, "constant"))


def test_a_neuron_dead_at_both_ends_of_a_segment_but_used_between_is_no_proof(proven, tampered):
    """Incoming and outgoing weights that move in one segment: dead before, alive after."""
    convex = segment_of(proven.path, "convex")

    def change(points):
        points[convex] = {name: tensor.clone() for name, tensor in points[convex - 1].items()}
        return points

    found = ch.verify(tampered(change), proven.task)
    assert any("expected the output layer alone" in fault for fault in faults(found, "convex"))


def test_weights_that_read_a_silent_neuron_may_move(proven, tmp_path):
    a = {name: tensor.clone() for name, tensor in trained(proven.task, 5).items()}
    for name in ("1.weight", "1.bias"):
        a[name][4] = 0
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["3.weight"][:, 4] += 1
    Path.from_points([a, b], guarantees=["constant"]).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", proven.task)
    assert found.holds, found.findings
    assert found.deviation == 0


def test_a_bias_makes_a_neuron_without_weights_heard(proven, tmp_path):
    a = {name: tensor.clone() for name, tensor in trained(proven.task, 5).items()}
    a["1.weight"][4], a["1.bias"][4] = 0, 1
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["3.weight"][:, 4] += 1
    Path.from_points([a, b], guarantees=["constant"]).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", proven.task)
    assert any("3.weight" in fault for fault in faults(found, "constant"))


def test_nan_is_named(proven, tampered):
    def change(points):
        points[3]["5.bias"][0] = float("nan")
        return points

    found = ch.verify(tampered(change), proven.task)
    assert "point 3, 5.bias: holds NaN or Inf" in faults(found, "weights")
    assert faults(found, "loss")


@pytest.mark.parametrize("end", [0, -1])
def test_an_end_that_is_not_its_checkpoint_is_named(proven, tampered, end):
    def change(points):
        points[end]["7.bias"][1] += 1e-7
        return points

    found = ch.verify(tampered(change), proven.task, checkpoints=proven.checkpoints)
    assert faults(found, "end") == [f"end {'AB'[end]}, 7.bias: differs from the checkpoint"]


def test_another_checkpoint_is_named_by_its_digest(proven):
    swapped = tuple(reversed(proven.checkpoints))
    found = ch.verify(proven.file, proven.task, checkpoints=swapped)
    assert any(fault.startswith("end A: digest") for fault in faults(found, "end"))
    assert found.ends == "not those of the checkpoints"


def test_measured_segments_prove_nothing_and_claim_nothing(proven, tmp_path):
    path = ch.connect(*proven.checkpoints, proven.task, builder="linear")
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", proven.task, checkpoints=proven.checkpoints)
    assert found.holds
    assert set(found.bound.values()) == {None}


def test_a_loss_that_is_not_convex_proves_nothing(proven):
    own = replace(LOSSES["cross-entropy"], name="own", convex=False)
    found = ch.verify(proven.file, replace(proven.task, loss=own))
    assert any("own is not known to be convex" in fault for fault in faults(found, "convex"))


def test_other_data_gives_another_bound(proven):
    flipped = CachedSplit("train", proven.task.train.inputs, (proven.task.train.targets() + 1) % 3)
    found = ch.verify(proven.file, replace(proven.task, train=flipped))
    assert found.holds
    assert found.bound["train"] > 1


def test_a_path_of_another_model_is_refused(proven, tmp_path):
    weights = {"fc.weight": torch.randn(3, 10)}
    Path(start=weights, edits=((),)).save(tmp_path / "p.path.safetensors")
    with pytest.raises(InputError, match="the path does not fit the model"):
        ch.verify(tmp_path / "p.path.safetensors", proven.task)


def test_training_noise_between_two_ends_is_no_proven_path(proven, tampered):
    """Every guarantee claimed for a path of unrelated networks."""

    def change(points):
        return [trained(proven.task, seed, steps=5) for seed in range(len(points))]

    found = ch.verify(tampered(change), proven.task)
    refuted = {finding.where.split(" (")[0] for finding in found.findings}
    assert {f"segment {index}" for index in range(len(proven.path.guarantees))} <= refuted


class Trimmed(BatchedSplit):
    """Sequences trimmed to the longest of their batch, whose labels are padded where all are asked for."""

    def targets(self):
        return torch.cat([torch.nn.functional.pad(y, (0, 5 - y.shape[1]), value=-100) for _, y in self._batches])


class LastAxis(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 3)

    def forward(self, x):
        return self.head(x)


def test_classes_are_found_on_the_same_axis_in_every_batch(tmp_path):
    """They are last in every batch; the second has as many positions as there are classes, and fits both ways."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(4, t, 2, generator=generator), torch.randint(0, 3, (4, t), generator=generator)) for t in (5, 3)
    ]
    first = {"head.weight": torch.randn(3, 2, generator=generator), "head.bias": torch.zeros(3)}
    points = [first, {name: 2 * tensor for name, tensor in first.items()}]
    Path.from_points(points).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", Task(LastAxis, Trimmed("train", batches)))

    def loss(point):
        parts = [((x.double() @ point["head.weight"].double().T).flatten(0, 1), y.flatten()) for x, y in batches]
        return float(torch.nn.functional.cross_entropy(*(torch.cat(part) for part in zip(*parts, strict=True))))

    assert found.largest["train"][0] == pytest.approx(max(map(loss, points)), rel=1e-5)
