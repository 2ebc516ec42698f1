"""What is called proven: planted lies of every kind get no bound, from `evaluate` and from `verify` alike."""

from dataclasses import replace

import pytest
import torch
from small_networks import trained
from torch import nn
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.paths import EndPoint, Path
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.tasks.loss import custom_loss
from connectivity_hooks.verification.convexity import between as between_outputs
from connectivity_hooks.verification.proof import Seen, prove
from connectivity_hooks.verification.rounding import outputs_tolerance


def capped(outputs, targets):
    """Not convex: beyond 2 the loss grows no more."""
    return cross_entropy(outputs, targets, reduction="none").clamp(max=2)


def bent(outputs, targets):
    """Not convex by a hair: a ripple of one in ten thousand."""
    return cross_entropy(outputs, targets, reduction="none") + 1e-4 * torch.sin(40 * outputs[:, 0])


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x)


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 4, generator=generator), torch.randint(0, 3, (200,), generator=generator)
    return Task(OneLayer, CachedSplit("train", x, y), batch_size=64)


def between(scale, guarantee="convex"):
    generator = torch.Generator().manual_seed(1)
    ends = [
        {"head.weight": scale * torch.randn(3, 4, generator=generator), "head.bias": torch.zeros(3)} for _ in range(2)
    ]
    return Path.from_points(ends, guarantees=[guarantee])


@pytest.mark.parametrize("function", [capped, bent])
def test_a_loss_declared_convex_and_seen_not_to_be_gets_no_bound(task, function, tmp_path):
    declared = replace(task, loss=custom_loss("own", function, convex=True))
    path = between(3.0)
    evaluation = ch.evaluate(path, declared)
    assert evaluation.bound["train"] is None
    assert "declared convex" in " ".join(evaluation.proof.gaps)
    assert evaluation.conclusion.verdict != "proven"
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", declared, interior=20)
    assert not found.holds
    assert any("declared convex" in str(finding) for finding in found.findings)


def test_a_convex_loss_of_one_s_own_that_takes_no_float64_keeps_its_bound(task, tmp_path):
    weight = torch.tensor([1.0, 2.0, 3.0])  # in float32: cross-entropy refuses outputs in float64 beside it
    own = custom_loss("own", lambda o, y: cross_entropy(o, y, weight=weight, reduction="none"), convex=True)
    path = between(3.0)
    evaluation = ch.evaluate(path, replace(task, loss=own))
    outputs = [task.train.inputs.double() @ p["head.weight"].double().T for p in path.points()]
    losses = [cross_entropy(o, task.train.targets(), weight=weight.double(), reduction="none").mean() for o in outputs]
    assert evaluation.bound["train"] == pytest.approx(float(max(losses)), rel=1e-5)
    path.save(tmp_path / "p.path.safetensors")
    assert ch.verify(tmp_path / "p.path.safetensors", replace(task, loss=own)).holds


def test_targets_that_are_probabilities_are_measured_and_verified(task, tmp_path):
    soft = torch.softmax(torch.randn(200, 3, generator=torch.Generator().manual_seed(2)), 1)
    task = replace(task, train=CachedSplit("train", task.train.inputs, soft))
    path = between(1.0)
    evaluation = ch.evaluate(path, task)
    outputs = [task.train.inputs.double() @ p["head.weight"].double().T for p in path.points()]
    losses = [cross_entropy(o, soft.double()) for o in outputs]
    assert evaluation.bound["train"] == pytest.approx(float(max(losses)), rel=1e-6)
    path.save(tmp_path / "p.path.safetensors")
    assert ch.verify(tmp_path / "p.path.safetensors", task).holds


class Rare(nn.Module):
    """Its first hidden neuron fires for inputs whose first entry is large, and for no other."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.hidden(x).relu())


def rare_task_and_path():
    """Return a task of 600 samples of which only the last fires that neuron, and a path that lies about it."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 4, generator=generator), torch.randint(0, 3, (600,), generator=generator)
    x[-1, 0] = 100.0
    task = Task(Rare, CachedSplit("train", x, y), batch_size=64)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        a = {name: tensor.clone() for name, tensor in Rare().state_dict().items()}
    a["hidden.weight"][0], a["hidden.bias"][0] = torch.tensor([1.0, 0, 0, 0]), -50
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["hidden.weight"][0] *= 3
    b["hidden.bias"][0] *= 3
    return task, Path.from_points([a, b], guarantees=["constant"])


def test_a_file_s_guarantee_is_not_believed_beyond_the_samples_that_were_tried(tmp_path):
    task, path = rare_task_and_path()
    evaluation = ch.evaluate(path, task)
    assert not evaluation.deviations[0].broken  # the samples tried see nothing
    assert evaluation.bound["train"] is None
    assert evaluation.guarantees == ("measured",)
    assert len(evaluation.curves["train"]) > 2  # and what is not guaranteed is measured
    path.save(tmp_path / "p.path.safetensors")
    assert not ch.verify(tmp_path / "p.path.safetensors", task).holds


def test_where_the_structure_cannot_be_read_nothing_is_proven(task):
    class Branching(OneLayer):
        def forward(self, x):
            return self.head(x) if float(x.sum()) > -1e9 else x[:, :3]

    evaluation = ch.evaluate(between(1.0), replace(task, factory=Branching))
    assert evaluation.bound["train"] is None
    assert "structure" in " ".join(evaluation.proof.gaps)


def test_in_bfloat16_there_is_no_bound_and_verify_says_which_type_to_take(task, tmp_path):
    coarse = replace(task, dtype=torch.bfloat16, train=task.train.to(torch.device("cpu"), torch.bfloat16))
    path = between(1.0)
    evaluation = ch.evaluate(path, coarse)
    assert evaluation.bound["train"] is None
    assert "float32" in " ".join(evaluation.proof.gaps)
    path.save(tmp_path / "p.path.safetensors")
    with pytest.raises(UsageError, match="use float32 or float64"):
        ch.verify(tmp_path / "p.path.safetensors", coarse)


def test_a_float32_file_is_verified_in_float64(proven):
    wide = {split.name: split.to(torch.device("cpu"), torch.float64) for split in proven.task.splits()}
    found = ch.verify(proven.file, replace(proven.task, dtype=torch.float64, **wide), interior=10)
    assert found.holds, found.findings
    assert found.deviation <= 1e-12


class TestAlignedEnds:
    """`alignment` in a file is a claim like any other."""

    @pytest.fixture
    def written(self, proven, tmp_path):
        def write(last):
            a, b = (read(file) for file in proven.checkpoints)
            ends = (
                EndPoint(a.file.name, a.sha256, "float32"),
                EndPoint(b.file.name, b.sha256, "float32"),
            )
            path = Path.from_points([dict(a.weights), last(dict(b.weights))])
            file = tmp_path / "aligned.path.safetensors"
            replace(path, end_points=ends, alignment={"aligner": "none"}).save(file)
            return ch.verify(file, proven.task, checkpoints=proven.checkpoints)

        return write

    def test_another_network_is_refuted(self, proven, written):
        found = written(lambda b: dict(read(proven.checkpoints[0]).weights))
        assert not found.holds
        assert [finding.where for finding in found.findings] == ["end B (aligned)"]
        assert found.ends == "not those of the checkpoints"

    def test_the_network_with_its_neurons_in_another_order_holds(self, written):
        def permuted(b):
            order = torch.randperm(len(b["1.bias"]), generator=torch.Generator().manual_seed(0))
            return {
                **b,
                "1.weight": b["1.weight"][order],
                "1.bias": b["1.bias"][order],
                "3.weight": b["3.weight"][:, order],
            }

        found = written(permuted)
        assert found.holds, found.findings
        assert "the same function" in found.ends

    def test_a_network_off_by_one_neuron_is_refuted(self, written):
        def off(b):
            b["1.bias"] = b["1.bias"] + torch.eye(len(b["1.bias"]))[3]
            return b

        assert not written(off).holds


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 4), nn.Linear(4, 4)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x).relu())


def test_tied_names_that_differ_are_refused_by_both(task, tmp_path):
    tied = replace(task, factory=Tied)
    point = {name: tensor.clone() for name, tensor in Tied().state_dict().items()}
    last = {**point, "decode.weight": point["decode.weight"] + 1}
    path = Path.from_points([point, last])
    path.save(tmp_path / "p.path.safetensors")
    for act in (lambda: ch.evaluate(path, tied), lambda: ch.verify(tmp_path / "p.path.safetensors", tied)):
        with pytest.raises(InputError, match=r"encode\.weight and decode\.weight are one tensor .* point 1"):
            act()


def test_moving_a_tied_output_layer_is_no_convex_segment(task):
    """The output layer's weight is used below as well, under another name."""
    point = {name: tensor.clone() for name, tensor in Tied().state_dict().items()}
    moved = point["decode.weight"] * 1.5
    last = {**point, "decode.weight": moved, "encode.weight": moved.clone()}
    evaluation = ch.evaluate(Path.from_points([point, last], guarantees=["convex"]), replace(task, factory=Tied))
    assert evaluation.bound["train"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {"head.weight": w["head.weight"]}, r"missing \['head.bias'\]"),
        (lambda w: {**w, "extra": torch.zeros(1)}, r"unexpected \['extra'\]"),
        (lambda w: {**w, "head.bias": torch.zeros(1)}, r"head.bias is \(1,\), expected \(3,\)"),
        (lambda w: {**w, "head.bias": torch.zeros(3, dtype=torch.int64)}, "head.bias is torch.int64"),
    ],
)
def test_a_path_that_does_not_fit_the_model_is_refused_not_broadcast(task, change, words):
    ends = [change(point) for point in between(1.0).points()]
    with pytest.raises(InputError, match=words):
        ch.evaluate(Path.from_points(ends), task)


def test_a_dead_neuron_that_overflows_is_no_proof(tmp_path):
    """In exact arithmetic nobody hears it; in floats infinity times zero is heard by everyone."""
    task, path = rare_task_and_path()
    a = {name: tensor.clone() for name, tensor in path.start.items()}
    a["head.weight"][:, 0] = 0
    loud = {**a, "hidden.weight": a["hidden.weight"].clone()}
    loud["hidden.weight"][0] = 3e38
    forged = Path.from_points([a, loud, a], guarantees=["constant", "constant"])
    evaluation = ch.evaluate(forged, task)
    assert evaluation.bound["train"] is None
    assert evaluation.barriers["train"].loss_max == float("inf")
    forged.save(tmp_path / "p.path.safetensors")
    assert not ch.verify(tmp_path / "p.path.safetensors", task).holds


@pytest.mark.parametrize("name", ["cross-entropy", "bce", "mse", "l1", "huber"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_no_convex_loss_is_ever_seen_to_bend(name, scale):
    generator = torch.Generator().manual_seed(0)
    left, right = (scale * torch.randn(500, 7, generator=generator) for _ in range(2))
    right[:100] = left[:100] + 1e-7  # nearly equal ends: nothing but rounding
    targets = torch.randint(0, 7, (500,), generator=generator)
    if name != "cross-entropy":
        targets = torch.rand(500, 7, generator=generator) * (1 if name == "bce" else scale)
    for share in (0.001, 0.25, 0.5, 0.9):
        outputs, losses, bends, _ = between_outputs(LOSSES[name], left, right, targets, share)
        assert float(bends.max()) == 0
        expected = (1 - share) * left.double() + share * right.double()
        torch.testing.assert_close(outputs, expected)
        assert losses.sums.shape == (500,)


def test_one_bent_sample_of_many_is_seen():
    left, right = torch.zeros(1000, 1), torch.zeros(1000, 1)
    right[321] = 5.0
    own = custom_loss("own", lambda o, y: o.squeeze(1).sqrt(), convex=True)
    _, _, bends, _ = between_outputs(own, left, right, torch.zeros(1000), 0.5)
    assert bends.nonzero().flatten().tolist() == [321]
    assert float(bends[321]) == pytest.approx(2.5**0.5 - 5**0.5 / 2)


def test_tolerances_are_those_stated():
    assert outputs_tolerance(torch.float32) == pytest.approx(2000 * 2.0**-23)
    assert outputs_tolerance(torch.float64) == pytest.approx(2000 * 2.0**-52)


def test_identical_ends_need_no_convex_loss(task):
    own = custom_loss("own", capped, convex=False)
    path = Path.from_points([between(1.0).start] * 2, guarantees=["constant"])
    assert ch.evaluate(path, replace(task, loss=own)).proven


def test_honest_paths_keep_their_bound(proven):
    evaluation = ch.evaluate(Path.load(proven.file), proven.task)
    assert evaluation.proven, evaluation.proof.gaps
    assert evaluation.guarantees == proven.path.guarantees
    other = ch.evaluate(
        Path.from_points([trained(proven.task, 5), trained(proven.task, 6)], guarantees=["convex"]), proven.task
    )
    assert not other.proven


def hill(width, dtype):
    """Return a loss that is low at both ends of a segment through 0, and 300 times as high in between."""
    return lambda outputs, targets: (3 * torch.exp(-(outputs / width).pow(2).mean(1)) + 0.01).to(dtype)


def through_zero(scale):
    start = between(scale).start
    return Path.from_points([start, {name: -tensor for name, tensor in start.items()}], guarantees=["convex"])


@pytest.mark.parametrize(
    ("scale", "width", "dtype"),
    [
        (30.0, 1.0, torch.bfloat16),
        (30.0, 1.0, torch.float16),
        (30.0, 1.0, torch.float32),
        (3e6, 1e5, torch.float32),
        (3e20, 1e19, torch.float64),
    ],
)
def test_no_bound_stands_beside_a_measured_loss_above_it(task, tmp_path, scale, width, dtype):
    """Whatever the type that the loss comes back in, and however large the outputs are that it comes from."""
    path, own = through_zero(scale), custom_loss("own", hill(width, dtype), convex=True)
    declared = replace(task, loss=own)
    evaluation = ch.evaluate(path, declared)
    curve = evaluation.curves["train"]
    assert max(point.loss for point in curve) > 50 * max(curve[0].loss, curve[-1].loss)
    assert evaluation.bound["train"] is None
    path.save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", declared)
    assert not found.holds
    assert found.bound["train"] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_in_a_coarse_type_has_no_bound_and_is_named(task, tmp_path, dtype):
    own = custom_loss("own", lambda o, y: cross_entropy(o, y, reduction="none").to(dtype), convex=True)
    declared = replace(task, loss=own)
    constant = Path.from_points([between(1.0).start] * 2, guarantees=["constant"])
    for path in (between(1.0), constant):
        evaluation = ch.evaluate(path, declared)
        assert evaluation.bound["train"] is None
        assert "let it return float32 or float64" in " ".join(evaluation.proof.gaps)
        path.save(tmp_path / "p.path.safetensors")
        assert ch.verify(tmp_path / "p.path.safetensors", declared).bound["train"] is None


def test_a_loss_that_float32_cannot_show_to_be_convex_has_no_bound(task):
    """Outputs of size 1e5 are known to 0.01 in float32: nobody sees whether a loss of 0.01 is convex."""
    own = custom_loss("own", lambda o, y: (1e-3 + 0 * o.sum(1)).float(), convex=True)
    for scale, proven in ((1.0, False), (1e5, False)):
        assert ch.evaluate(between(scale), replace(task, loss=own)).proven is proven
    exact = custom_loss("own", lambda o, y: 1e-3 + 0 * o.sum(1), convex=True)
    assert ch.evaluate(between(1e5), replace(task, loss=exact)).proven


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 3.0, 1e4])
def test_an_honest_loss_keeps_its_bound_in_either_type(task, tmp_path, dtype, scale):
    for function in (
        lambda o, y: cross_entropy(o.to(dtype), y, reduction="none"),
        lambda o, y: o.to(dtype).square().mean(1),
        lambda o, y: (o.to(dtype) - 1e3).square().mean(1),
        lambda o, y: (1 - o.to(dtype)).relu().mean(1),
    ):
        declared = replace(task, loss=custom_loss("own", function, convex=True))
        path = between(scale)
        evaluation = ch.evaluate(path, declared)
        assert evaluation.proven, evaluation.proof.gaps
        path.save(tmp_path / "p.path.safetensors")
        found = ch.verify(tmp_path / "p.path.safetensors", declared)
        assert found.holds, found.findings


def test_a_mean_above_the_larger_end_refutes_whatever_samples_show():
    seen = Seen("there", 1.01, 0.0, 0.5, 1.0)
    path, own = between(1.0), custom_loss("own", bent, convex=True)
    assert not prove(path, own, untrue=(), seen=[seen], dtype=torch.float32).holds
    assert prove(path, own, untrue=(), seen=[replace(seen, loss=0.99, blur=1e-6)], dtype=torch.float32).holds
