"""The plane through three checkpoints: its geometry, what is measured on it, and what is projected onto it."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from small_networks import mlp, vector_task
from torch import nn
from written_networks import drawn, loss_of, write

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks_averaging.planes import functions
from connectivity_hooks_averaging.planes.functions import plane
from connectivity_hooks_averaging.planes.plane import Plane


def network():
    return mlp(8)


def normed():
    return nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def task():
    return vector_task(network)


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path, name, drawn(network, seed)) for seed, name in enumerate("abc")]


def flat(weights, dtype=torch.float64):
    return torch.cat([each.flatten().to(dtype) for each in weights.values()]).numpy()


def in_double():
    weights = tuple({key: each.double() for key, each in drawn(network, seed).items()} for seed in range(3))
    return weights, Plane(("a", "b", "c"), weights, list(weights[0]), {})


def at(frame, like, *place):
    into = {key: torch.empty_like(each) for key, each in like.items()}
    frame.place(*place)(into)
    return flat(into)


def test_axes_are_orthonormal_and_the_three_sit_at_their_coordinates():
    weights, frame = in_double()
    a, b, c = map(flat, weights)
    origin = at(frame, weights[0], 0.0, 0.0)
    u, v = (at(frame, weights[0], *place) - origin for place in ((1.0, 0.0), (0.0, 1.0)))
    assert [u @ u, v @ v] == pytest.approx([1, 1], abs=1e-12)
    assert u @ v == pytest.approx(0, abs=1e-12)
    assert [each.at for each in frame.corners] == [(0, 0), (frame.base, 0), (frame.foot, frame.height)]
    assert frame.base == pytest.approx(np.linalg.norm(b - a), rel=1e-12)
    assert frame.height > 0
    assert (frame.foot, frame.height) == pytest.approx(((c - a) @ u, (c - a) @ v), rel=1e-10)
    for corner, expected in zip(frame.corners, (a, b, c), strict=True):
        np.testing.assert_allclose(at(frame, weights[0], *corner.at), expected, atol=1e-13)


def test_projection_is_that_of_least_squares():
    weights, frame = in_double()
    other = {key: each.double() for key, each in drawn(network, 7, 3.0).items()}
    a, b, c, d = map(flat, (*weights, other))
    shares, *_ = np.linalg.lstsq(np.stack([b - a, c - a], 1), d - a, rcond=None)
    nearest = a + np.stack([b - a, c - a], 1) @ shares
    x, y, distance = frame.project(other)
    np.testing.assert_allclose(at(frame, weights[0], x, y), nearest, atol=1e-12)
    assert distance == pytest.approx(np.linalg.norm(d - nearest), rel=1e-10)


def test_what_lies_in_the_plane_is_at_no_distance():
    weights, frame = in_double()
    a, b, c = weights
    inside = {key: 0.2 * a[key] + 0.5 * b[key] + 0.3 * c[key] for key in a}
    x, y, distance = frame.project(inside)
    assert frame.mixture(x, y) == pytest.approx((0.2, 0.5, 0.3), rel=1e-10)
    assert distance < 1e-12
    assert frame.inside(x, y)
    assert not frame.inside(-x, y)


def test_losses_on_the_grid_are_those_of_weights_assembled_by_hand(task, files):
    found = plane(files, task, points=4)
    weights = [drawn(network, seed) for seed in range(3)]
    a, b, c = map(flat, weights)
    u = (b - a) / np.linalg.norm(b - a)
    v = (c - a) - ((c - a) @ u) * u
    v /= np.linalg.norm(v)
    for (x, y), scores in zip(found.grid.places(), found.scores, strict=True):
        vector, here, first = torch.tensor(a + x * u + y * v), {}, 0
        for key, each in weights[0].items():
            here[key] = vector[first : first + each.numel()].view_as(each)
            first += each.numel()
        for split in task.splits():
            loss, error = loss_of(task, here, split)
            assert scores[split.name].loss == pytest.approx(loss, rel=1e-4)
            assert scores[split.name].error == pytest.approx(error, abs=2 / len(split))


def test_the_three_have_their_own_losses_bit_for_bit(task, files):
    found = plane(files, task, points=3)
    alone = ch.evaluate(ch.Path.from_points([drawn(network, seed) for seed in range(3)]), task, points=3, refine=0)
    losses = {point.t: point.loss for point in alone.curves["train"]}
    assert [each.scores["train"].loss for each in found.points] == [losses[t] for t in (0.0, 0.5, 1.0)]


def test_a_fourth_keeps_its_own_loss_and_has_that_of_the_plane_beneath(task, files, tmp_path):
    other = drawn(network, 9, 2.0)
    found = plane(files, task, project=[write(tmp_path, "d", other)], points=3)
    d = found.points[-1]
    assert (d.name, d.kind) == ("d", "checkpoint")
    assert d.distance > 1
    assert d.scores["train"].loss == pytest.approx(loss_of(task, other)[0], rel=1e-5)
    assert d.beneath["train"].loss != pytest.approx(d.scores["train"].loss, rel=1e-2)


def test_a_curve_of_three_points_lies_in_its_own_plane(task, tmp_path):
    curve = ch.Path.from_points([drawn(network, seed) for seed in range(3)], basis="bezier")
    curve.save(tmp_path / "curve.path.safetensors")
    found = plane([tmp_path / "curve.path.safetensors"], task, points=3)
    on_path = [each for each in found.points if each.kind == "path"]
    assert [each.name for each in found.points[:3]] == ["curve start", "curve end", "curve middle"]
    assert max(each.distance for each in on_path) < 1e-4
    for each in on_path:
        assert each.scores["train"].loss == pytest.approx(each.beneath["train"].loss, rel=1e-4)
        assert each.scores["train"].loss == pytest.approx(loss_of(task, curve(each.t))[0], rel=1e-4)


def test_another_path_is_off_the_plane(task, files, tmp_path):
    ch.Path.from_points([drawn(network, seed) for seed in (0, 5, 1)]).save(tmp_path / "way.path.safetensors")
    found = plane(files, task, project=[tmp_path / "way.path.safetensors"], points=3)
    path = {each.t: each for each in found.points if each.kind == "path"}
    assert path[0.0].distance < 1e-5
    assert path[0.5].distance > 0.1
    assert path[1.0].at == pytest.approx(found.points[1].at, abs=1e-5)


def test_statistics_of_batch_norm_are_measured_where_asked(tmp_path):
    task = vector_task(normed)
    files = []
    for seed, name in enumerate("abc"):
        weights = drawn(normed, seed, 4.0)
        weights["1.running_mean"] += 5 * seed
        weights["1.num_batches_tracked"] += seed
        files.append(write(tmp_path, name, weights))
    plain, corrected = plane(files, task, points=3), plane(files, task, points=3, correct="batch-norm")
    assert plain.mixes_statistics
    assert not corrected.mixes_statistics
    assert corrected.correction["correction"] == "batch-norm"
    place, number = corrected.grid.places()[4], 4
    weights = tuple(drawn(normed, seed, 4.0) for seed in range(3))
    frame = Plane(("a", "b", "c"), weights, [name for name, _ in normed().named_parameters()], {})
    model = normed()
    frame.place(*place)(model.state_dict())
    model[1].reset_running_stats()
    model[1].momentum = None
    model.train()
    with torch.no_grad():
        model(task.train.inputs)
    expected, _ = loss_of(task, model.state_dict())
    assert corrected.scores[number]["train"].loss == pytest.approx(expected, rel=2e-2)
    assert plain.scores[number]["train"].loss != pytest.approx(expected, rel=2e-2)


def test_a_negative_variance_is_a_loss_that_is_not_finite(tmp_path):
    task = vector_task(normed)
    files = []
    for seed, name in enumerate("abc"):
        weights = drawn(normed, seed)
        weights["1.running_var"] = torch.full((8,), 10.0**seed)
        files.append(write(tmp_path, name, weights))
    found = plane(files, task, points=5, margin=1.0)
    assert found.not_finite("train")
    assert all(each["train"].loss == math.inf or math.isfinite(each["train"].loss) for each in found.scores)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", "3"),
        ("points", 2.5),
        ("margin", "0.2"),
        ("margin", 11),
        ("seed", "x"),
        ("checkpoints", "a.path.safetensors"),
        ("project", "d.safetensors"),
    ],
)
def test_arguments_of_another_kind_are_wrong_usage(task, files, name, value):
    given = {"checkpoints": files} | {name: value}
    with pytest.raises(UsageError, match=f"plane: {name}: expected"):
        plane(given.pop("checkpoints"), task, **given)


def test_a_correction_that_needs_a_path_is_refused(task, files):
    with pytest.raises(UsageError, match="repair needs a path"):
        plane(files, task, correct="repair")


def test_what_was_measured_is_not_measured_again(task, files, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    add, count = functions.Kept.add, []

    def dying(self, place, scores):
        if len(count) == 7:
            raise Killed
        count.append(place)
        add(self, place, scores)

    whole = plane(files, task, points=4)
    with monkeypatch.context() as patch:
        patch.setattr(functions.Kept, "add", dying)
        with pytest.raises(Killed):
            plane(files, task, points=4, keep=tmp_path / "kept")
    text = (tmp_path / "kept" / "places.jsonl").read_text()
    (tmp_path / "kept" / "places.jsonl").write_text(text[:-5])  # a line that a kill cut short
    again = []

    def adding(self, place, scores):
        again.append(place)
        add(self, place, scores)

    monkeypatch.setattr(functions.Kept, "add", adding)
    resumed = plane(files, task, points=4, keep=tmp_path / "kept")
    assert len(again) == 16 + 3 - 6
    assert resumed.scores == whole.scores
    assert resumed.points == whole.points
    plane(files, dataclasses.replace(task, train=task.train.head(100)), points=4, keep=tmp_path / "kept")
    assert len(again) == 13 + 19  # other data


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("ab", "2 checkpoints; expected three"),
        ("a", "1 checkpoint; expected three"),
        ("abb", "b and 3-b have the same parameters|have the same parameters"),
        ("abm", "lie on one line"),
    ],
)
def test_what_has_no_plane_is_refused_in_a_line(task, tmp_path, names, words):
    weights = {name: drawn(network, seed) for seed, name in enumerate("ab")}
    weights["m"] = {key: 0.3 * each + 0.7 * weights["b"][key] for key, each in weights["a"].items()}
    files = {name: write(tmp_path, name, each) for name, each in weights.items()}
    with pytest.raises(InputError, match=words) as refusal:
        plane([files[name] for name in names], task)
    assert "\n" not in str(refusal.value)


def test_another_architecture_is_refused_with_its_difference(task, files, tmp_path):
    other = write(tmp_path, "wide", drawn(lambda: mlp(9), 0))
    with pytest.raises(InputError, match=r"1\.weight"):
        plane([*files[:2], other], task)


def test_whole_numbers_that_differ_are_refused(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(10, 3)
            self.register_buffer("chosen", torch.zeros(2, dtype=torch.int64))

        def forward(self, x):
            return self.linear(x)

    files = []
    for seed, name in enumerate("abc"):
        weights = drawn(Counting, seed)
        weights["chosen"] += seed == 2
        files.append(write(tmp_path, name, weights))
    with pytest.raises(InputError, match=r"c: chosen \(int64\) differs from that of a"):
        plane(files, vector_task(Counting))


def test_a_straight_line_has_no_plane(task, tmp_path):
    ch.Path.from_points([drawn(network, seed) for seed in (0, 1)]).save(tmp_path / "line.path.safetensors")
    with pytest.raises(InputError, match="a line has no plane"):
        plane([tmp_path / "line.path.safetensors"], task)


def test_a_report_holds_what_was_measured(task, files, tmp_path):
    from connectivity_hooks_averaging.planes.writing import save

    found = plane(files, task, points=5)
    save(found, tmp_path)
    content = json.loads((tmp_path / "plane.json").read_text())
    assert content["grid"]["train"]["loss"] == [each["train"].loss for each in found.scores]
    rows = (tmp_path / "plane.csv").read_text().splitlines()
    assert rows[0] == "x,y,split,loss,error"
    assert len(rows) == 1 + 25 * 2
    assert [each["name"] for each in content["points"]] == ["a", "b", "c"]
    page = (tmp_path / "plane.html").read_text()
    assert "<svg" in page
    assert content["verdict"][0] in page
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")
