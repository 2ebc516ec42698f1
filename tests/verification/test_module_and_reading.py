"""A proof is about the module that is measured: what was read of it must be what it does, on all that is measured.

The path of every case is silent at both ends and loud between them, through something that a reading can miss.
"""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task, custom_loss
from connectivity_hooks.verification.reading import mixed
from connectivity_hooks.verification.rounding import relative_deviation

N = 321


class Hidden(nn.Module):
    """The head reads a hidden value that depends on the head's own weight, where `hit` says so."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.prepare()

    def prepare(self):
        pass

    def hit(self, x):
        return False

    def gate(self):
        return (1 - self.head.weight[0, 0]).relu()

    def forward(self, x):
        first = x[:, 2:3] * self.gate() if self.hit(x) else x[:, 2:3] * 0
        return self.head(torch.cat([first, x[:, :2]], 1))


class WhenNotExported(Hidden):
    def hit(self, x):
        return not torch.compiler.is_exporting() and bool((x[:, 2] > 0).any())


class LastBatch(Hidden):
    def hit(self, x):
        return len(x) == 1


class LongerInputs(Hidden):
    def hit(self, x):
        return x.shape[1] > 3


class Alias(Hidden):
    def prepare(self):
        self.saved = self.head.weight.data

    def hit(self, x):
        return True

    def gate(self):
        return (1 - self.saved[0, 0]).relu()


class Random(Hidden):
    def forward(self, x):
        rare = (torch.rand(len(x), 1) < 1e-6).to(x.dtype) * (1 - self.head.weight[0, 0]).relu()
        return self.head(torch.cat([x[:, 2:3] * rare, x[:, :2]], 1))


def data(columns=3):
    x = torch.randn(N, columns, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 0
    x[-1, 2] = 1e4
    return x, (x[:, 0] > 0).long()


def silent_at_both_ends():
    first = torch.tensor([[0.0, -1, 0], [0, 1, 0], [0, 0, 0]])
    last = first.clone()
    last[0, 0] = 1
    return Path.from_points(
        [{"head.weight": weight, "head.bias": torch.zeros(3)} for weight in (first, last)], guarantees=["convex"]
    )


def outcome(act):
    """Return whether anything is proven; a refusal proves nothing."""
    try:
        return act()
    except InputError:
        return False


@pytest.mark.parametrize("kind", [WhenNotExported, LastBatch, LongerInputs, Alias, Random])
def test_what_a_reading_misses_is_no_proof(kind, tmp_path):
    task = Task(kind, CachedSplit("train", *data()), batch_size=64)
    if kind is LongerInputs:
        longer, labels = data(4)
        task = replace(task, test=CachedSplit("test", longer[-100:], labels[-100:]))
    path = silent_at_both_ends()
    path.save(tmp_path / "p.path.safetensors")
    assert not outcome(lambda: ch.evaluate(path, task).proven)
    assert not outcome(lambda: ch.verify(tmp_path / "p.path.safetensors", task).holds)


def test_a_changed_configuration_is_read_anew_or_refuted():
    class Configured(Hidden):
        on = False

        def hit(self, x):
            return Configured.on

    task = Task(Configured, CachedSplit("train", *data()), batch_size=64)
    assert ch.evaluate(silent_at_both_ends(), task).proven
    Configured.on = True
    assert not ch.evaluate(silent_at_both_ends(), replace(task)).proven


def test_a_column_of_another_scale_hides_nothing():
    expected = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    expected[:, 2] *= 1e7
    found = expected.clone()
    found[7, 0] += 0.01
    assert relative_deviation(found, expected) > 1e-3
    assert relative_deviation(expected, expected) == 0
    expected[3] *= 1e9  # nor does a single large sample
    found = expected.clone()
    found[8, 1] += 0.01
    assert relative_deviation(found, expected) > 1e-3


def test_rounding_of_float32_is_within_the_tolerance_where_terms_cancel():
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(1000, 400, generator=generator), torch.randn(400, 1, generator=generator)
    assert relative_deviation(x @ w, x.double() @ w.double()) < 2e-5


def test_not_a_number_on_one_side_is_infinitely_far():
    values = torch.ones(4, 2)
    lost = values.clone()
    lost[1, 1] = float("nan")
    assert relative_deviation(lost, values) == float("inf")
    assert relative_deviation(lost, lost) == 0


def test_a_silent_chain_that_overflows_inside_a_segment_is_no_proof(tmp_path):
    """Both neurons are silent at both ends; between them one infinity is multiplied by 0."""

    def make():
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(700, 4, generator=generator), torch.randint(0, 3, (700,), generator=generator)
    x[:-1, 0] = -x[:-1, 0].abs()  # only one sample reaches the chain
    x[-1, 0] = 5
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a = {name: tensor.clone() for name, tensor in make().state_dict().items()}
    a["0.weight"][0], a["0.bias"][0] = torch.tensor([3e37, 0, 0, 0]), 0
    a["2.weight"][:, 0] = 0
    a["4.weight"][:, 0] = 0
    b = {name: tensor.clone() for name, tensor in a.items()}
    b["0.weight"][0] = 0
    b["2.weight"][0, 0] = 3e37
    path = Path.from_points([a, b], guarantees=["constant"])
    path.save(tmp_path / "p.path.safetensors")
    task = Task(make, CachedSplit("train", x, y), batch_size=64)
    assert not ch.evaluate(path, task).proven
    assert not ch.verify(tmp_path / "p.path.safetensors", task).holds


def test_a_curve_claims_nothing_but_what_was_measured():
    point = silent_at_both_ends()
    with pytest.raises(ValueError, match="only measured"):
        Path.from_points([point.start, point.end], basis="bezier", guarantees=["convex"])


def test_a_path_file_coarser_than_its_checkpoint_is_not_the_checkpoint_bit_for_bit(proven, tmp_path):
    path = Path.load(proven.file)
    path.to(torch.device("cpu"), torch.bfloat16).save(tmp_path / "p.path.safetensors")
    found = ch.verify(tmp_path / "p.path.safetensors", proven.task, checkpoints=proven.checkpoints)
    assert found.ends == "not those of the checkpoints"


def test_one_bent_sample_beyond_those_that_are_probed_refutes_the_loss(tmp_path):
    x, y = torch.randn(900, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(900, dtype=torch.long)
    y[-1] = 2

    def bent(outputs, targets):
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return torch.where(targets == 2, losses.clamp(max=1), losses)

    bowl = custom_loss("own", bent, convex=True)
    task = Task(lambda: nn.Sequential(OrderedDict(head=nn.Linear(3, 3))), CachedSplit("train", x, y), loss=bowl)
    path = silent_at_both_ends()
    biases = torch.tensor([[0.0, 0, 6], [6, 0, 0]])
    ends = [{**point, "head.bias": bias} for point, bias in zip(path.points(), biases, strict=True)]
    Path.from_points(ends, guarantees=["convex"]).save(tmp_path / "p.path.safetensors")
    for seed in range(3):
        assert not ch.verify(tmp_path / "p.path.safetensors", task, seed=seed).holds


class Copies(nn.Module):
    """Its state_dict returns copies: what is written into them is lost."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.register_state_dict_post_hook(
            lambda module, state, prefix, meta: state.update({k: v.clone() for k, v in state.items()})
        )

    def forward(self, x):
        return self.head(x)


class Remembering(nn.Module):
    """Keeps what it computed under the first weights in a place that nobody looks into."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.kept = OrderedDict(tables=OrderedDict())

    def forward(self, x):
        tables = self.kept["tables"]
        tables.setdefault("weight", self.head.weight.detach().clone())
        return x @ tables["weight"].T + self.head.bias


@pytest.mark.parametrize(("kind", "words"), [(Copies, "does not keep what is written"), (Remembering, "other weights")])
def test_a_model_whose_outputs_are_not_those_of_its_weights_is_refused(kind, words, tmp_path):
    task = Task(kind, CachedSplit("train", *data()), batch_size=64)
    path = replace(silent_at_both_ends(), guarantees=("measured",))
    path.save(tmp_path / "p.path.safetensors")
    for act in (lambda: ch.evaluate(path, task), lambda: ch.verify(tmp_path / "p.path.safetensors", task)):
        with pytest.raises(InputError, match=words):
            act()


def test_a_short_segment_is_looked_into_all_the_same():
    task = Task(lambda: nn.Sequential(OrderedDict(head=nn.Linear(3, 3))), CachedSplit("train", *data()), batch_size=64)
    path = silent_at_both_ends()
    loud = {**path.start, "head.bias": torch.tensor([-50.0, 50, 0])}
    far = {**path.start, "head.bias": torch.tensor([50.0, -50, 0])}
    hidden = Path.from_points([path.start, loud, far, path.end], positions=[0, 0.501, 0.502, 1])
    inside = [point.t for point in ch.evaluate(hidden, task).curves["train"] if 0.501 < point.t < 0.502]
    assert len(inside) >= 3


def test_mixed_weights_are_no_point_of_the_path_and_keep_variances_positive():
    a = {"w": torch.tensor([-1.0, 2.0]), "var": torch.tensor([0.1, 5.0]), "n": torch.tensor(3)}
    b = {"w": torch.tensor([4.0, -3.0]), "var": torch.tensor([2.0, 0.0]), "n": torch.tensor(7)}
    found = mixed(a, b)
    assert bool((found["var"] >= 0).all())
    assert int(found["n"]) == 3
    assert not torch.equal(found["w"], a["w"])
    assert all(torch.equal(found[name], mixed(a, b)[name]) for name in a)
