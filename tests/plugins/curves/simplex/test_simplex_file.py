"""The simplex file: what is written is read again, whatever lies in it is refused in one line, and what is drawn."""

import json
import math
from dataclasses import replace

import pytest
import torch

from connectivity_hooks.checkpoints import read, write_tensors
from connectivity_hooks.errors import ConnectivityError, InputError
from connectivity_hooks_curves.simplex.complex import Complex, Place, Vertex, star_of
from connectivity_hooks_curves.simplex.file import read_complex, write_complex

NAMES = ("w", "b")


def weights_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "w": torch.randn(3, 4, generator=generator),
        "b": torch.randn(4, generator=generator),
        "frozen": torch.ones(2),
        "mask": torch.tensor([0.0, -math.inf]),
        "count": torch.tensor(7),
    }


def cayley_menger(points):
    """Return V of some points (count, size), float64, from their distances alone."""
    count = len(points)
    bordered = torch.ones(count + 1, count + 1, dtype=torch.float64)
    bordered[0, 0] = 0
    bordered[1:, 1:] = (points[:, None] - points[None]).square().sum(-1)
    m = count - 1
    return math.sqrt((-1) ** count * float(torch.linalg.det(bordered)) / (2**m * math.factorial(m) ** 2))


@pytest.fixture
def volume():
    vertices = [
        Vertex("a.safetensors", "1" * 64, "float16"),
        Vertex("b.safetensors", "2" * 64, "float32", {"aligner": "x"}),
    ]
    return Complex(
        weights=tuple(weights_of(seed) for seed in range(5)),
        vertices=(*vertices, Vertex("c.safetensors", "3" * 64, "float32"), Vertex(), Vertex()),
        simplices=star_of(3, 2),
        coordinates=NAMES,
        dtypes={"w": "float16"},
        options={"connectors": 2},
        training={"steps": 3, "losses": [1.5], "note": ""},
    )


def test_the_edge_is_that_of_one_right_angled_simplex_of_the_volume_that_is_told(volume):
    points = torch.stack([torch.cat([w[name].double().flatten() for name in NAMES]) for w in volume.weights])
    together = sum(cayley_menger(points[list(simplex)]) for simplex in volume.simplices)
    assert math.exp(volume.log_volume) == pytest.approx(together, rel=1e-8)
    corner = torch.cat([torch.zeros(1, volume.dimension), volume.edge * torch.eye(volume.dimension)]).double()
    assert cayley_menger(corner) == pytest.approx(together, rel=1e-5)


def test_what_is_written_is_read_again(volume, tmp_path):
    write_complex(volume, tmp_path / "v", "made")
    found = read_complex(tmp_path / "v")
    for own, there in zip(volume.weights, found.weights, strict=True):
        assert own.keys() == there.keys()
        assert all(torch.equal(tensor, there[name]) for name, tensor in own.items())
    for field in ("vertices", "simplices", "coordinates", "dtypes", "options"):
        assert getattr(found, field) == getattr(volume, field)
    assert found.log_volume == volume.log_volume
    assert list(found.training["losses"]) == [1.5]
    assert read(tmp_path / "v").metadata["made_of"] == "made"
    keys = read(tmp_path / "v").outline
    assert "vertex.0/frozen" in keys
    assert "vertex.4/w" in keys
    assert "vertex.4/frozen" not in keys  # what equals the first is not stored again


def changed(volume, tmp_path, tensors=None, **metadata):
    write_complex(volume, tmp_path / "v")
    kept = read(tmp_path / "v")
    held = {name: tensor.clone() for name, tensor in kept.weights.items()}
    (tensors or (lambda found: None))(held)
    write_tensors(tmp_path / "lying", held, {**kept.metadata, **metadata})
    return tmp_path / "lying"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"format": "connectivity_hooks.path/1"}, "not a simplex file: expected format connectivity_hooks.simplex/1"),
        ({"vertices": "[]"}, "vertices: expected from 2"),
        ({"vertices": json.dumps([{"file": "a"}] * 5)}, "expected the fields file, sha256, dtype, alignment"),
        ({"vertices": "{"}, "is not a valid simplex file"),
        ({"simplices": "[]"}, "simplices: expected one or more"),
        ({"simplices": "[[0,3,4],[1,3],[2,3,4]]"}, "all of one number of vertices"),
        ({"simplices": "[[0,3,5],[1,3,4],[2,3,4]]"}, "different vertices from 0 to 4"),
        ({"simplices": "[[0,3,3],[1,3,4],[2,3,4]]"}, "different vertices from 0 to 4"),
        ({"simplices": "[[0,3,4],[1,3,4]]"}, "some vertices are in none of them"),
        ({"simplices": "[[0,3,true],[1,3,4],[2,3,4]]"}, "expected int"),
        ({"simplices": json.dumps([[0, 1]] * 2000)}, "expected at most 1000"),
        ({"coordinates": '["w"]'}, "log_volume: it says"),
        ({"coordinates": "[]"}, "coordinates: expected one name or more"),
        ({"coordinates": '["w", "count"]'}, "'count' is no floating tensor of vertex 0"),
        ({"coordinates": '["w", "other"]'}, "'other' is no floating tensor of vertex 0"),
        ({"log_volume": "3.5"}, "log_volume: it says 3.5"),
        ({"log_volume": "null"}, "log_volume: it says -inf"),
        ({"log_volume": "NaN"}, "log_volume: it says nan"),
        ({"dtypes": '{"w": "int8"}'}, "would be stored as int8"),
        ({"dtypes": '{"w": "Tensor"}'}, "expected types of tensors"),
        ({"dtypes": '{"q": "float16"}'}, "expected types of tensors"),
        ({"options": "[1]"}, "options"),
    ],
)
def test_a_header_that_lies_is_refused(volume, tmp_path, lie, words):
    with pytest.raises(InputError) as refused:
        read_complex(changed(volume, tmp_path, **lie))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda held: held.update({"vertex.1/w": torch.zeros(4, 3)}), "expected [3, 4] torch.float32 as in vertex 0"),
        (lambda held: held.update({"vertex.1/w": torch.zeros(3, 4).double()}), "expected [3, 4] torch.float32"),
        (lambda held: held.update({"vertex.1/q": torch.zeros(3)}), "'vertex.1/q' is not a tensor of vertex 0"),
        (lambda held: held.update({"vertex.5/w": torch.zeros(3, 4)}), "unexpected tensor 'vertex.5/w'"),
        (lambda held: held.update({"point.1/w": torch.zeros(3, 4)}), "unexpected tensor 'point.1/w'"),
        (lambda held: held.pop("vertex.0/b"), "'vertex.1/b' is not a tensor of vertex 0"),
        (lambda held: held["vertex.3/w"].fill_(math.nan), "'vertex.3/w' holds 12 NaN or Inf"),
        (lambda held: held["vertex.3/w"].mul_(2), "log_volume: it says"),
        (lambda held: held.pop("vertex.4/w"), "log_volume: it says"),
    ],
)
def test_tensors_that_are_not_what_the_header_says_are_refused(volume, tmp_path, lie, words):
    with pytest.raises(InputError) as refused:
        read_complex(changed(volume, tmp_path, lie))
    assert words in str(refused.value)


def test_a_checkpoint_and_a_cut_file_are_refused(volume, tmp_path):
    write_tensors(tmp_path / "plain", {"w": torch.ones(2)}, {"format": "pt"})
    with pytest.raises(InputError, match="not a simplex file"):
        read_complex(tmp_path / "plain")
    write_complex(volume, tmp_path / "v")
    (tmp_path / "v").write_bytes((tmp_path / "v").read_bytes()[:-8])
    with pytest.raises(ConnectivityError):
        read_complex(tmp_path / "v")


def test_draws_are_uniform_by_volume_and_the_same_for_one_seed(volume):
    places = [volume.drawn(0, number) for number in range(3000)]
    assert places == [volume.drawn(0, number) for number in range(3000)]
    assert places[:5] != [volume.drawn(1, number) for number in range(5)]
    sizes = [math.exp(each - volume.log_volume) for each in volume.log_volumes]
    assert sum(sizes) == pytest.approx(1, rel=1e-12)
    for simplex, size in enumerate(sizes):
        count = sum(place.simplex == simplex for place in places)
        assert abs(count - 3000 * size) < 4 * math.sqrt(3000 * size * (1 - size))


def test_weights_at_a_place_are_the_affine_combination(volume):
    found = volume.at(Place(1, (0.5, 0.2, 0.3)))
    w = [volume.weights[vertex]["w"].double() for vertex in (1, 3, 4)]
    torch.testing.assert_close(found["w"].double(), 0.5 * w[0] + 0.2 * w[1] + 0.3 * w[2], rtol=1e-6, atol=1e-6)
    assert torch.equal(found["mask"], volume.weights[0]["mask"])
    assert int(found["count"]) == 7
    assert list(found) == list(volume.weights[0])


def test_a_vertex_is_reached_bit_for_bit(volume):
    for vertex in range(5):
        shares = [float(other == vertex) for other in range(5)]
        assert all(torch.equal(t, volume.weights[vertex][n]) for n, t in volume.at(volume.placed(shares)).items())


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([0.5, 0.5], "expected 5, one for each vertex"),
        ([0.5, 0.6, 0, 0, 0], "together 1"),
        ([1.5, 0, 0, -0.5, 0], "≥ 0"),
        ([math.nan, 0, 0, 0, 0], "together 1"),
        ([0.5, 0.5, 0, 0, 0], "vertices 1 and 2 are in no simplex together; the simplices are 1-4-5, 2-4-5, 3-4-5"),
    ],
)
def test_weights_outside_are_refused(volume, shares, words):
    with pytest.raises(InputError) as refused:
        volume.placed(shares)
    assert words in str(refused.value)


def test_a_route_stays_inside(volume):
    path = volume.route(0, 2)
    middle = (volume.weights[3]["w"] + volume.weights[4]["w"]) / 2
    for t in (0.0, 0.2, 0.5, 0.8, 1.0):
        end, share = (0, 1 - 2 * t) if t <= 0.5 else (2, 2 * t - 1)
        expected = share * volume.weights[end]["w"] + (1 - share) * middle
        torch.testing.assert_close(path(t)["w"], expected, rtol=1e-6, atol=1e-6)
    assert [end.file for end in path.end_points] == ["a.safetensors", "c.safetensors"]
    assert path.alignment is None


def test_a_route_says_what_was_aligned_or_names_no_ends(volume):
    assert volume.route(0, 1).alignment == {"aligner": "x"}
    assert volume.route(1, 0).end_points is None
    assert len(volume.route(0, 3).positions) == 2  # inside one simplex
    assert volume.route(0, 3).end_points is None


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 5), (-1, 0)])
def test_a_route_between_no_two_vertices_is_refused(volume, start, end):
    with pytest.raises(InputError, match="expected two vertices of 1 to 5"):
        volume.route(start, end)


def test_a_flat_volume_is_written_and_not_drawn_from(volume, tmp_path):
    flat = replace(volume, weights=(*volume.weights[:4], volume.weights[3]))
    write_complex(flat, tmp_path / "v")
    found = read_complex(tmp_path / "v")
    assert found.log_volume == -math.inf
    with pytest.raises(InputError, match="its volume is 0"):
        found.drawn(0, 0)
