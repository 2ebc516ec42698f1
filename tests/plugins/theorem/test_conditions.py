"""The conditions on networks whose answers are known."""

import re

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.checking import make_condition, observe
from connectivity_hooks.checking import verdicts as checking_verdicts
from connectivity_hooks.errors import UsageError
from connectivity_hooks.features.observation import Observation
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.watching.probe import read_probe

N = 240


class Known(nn.Module):
    """Layers whose features are, in turn: separable, noise, of rank 2, NaN, and never computed."""

    def __init__(self):
        super().__init__()
        self.separable, self.noise, self.flat = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.broken, self.silent, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        with torch.no_grad():
            self.flat.weight[2:] = self.flat.weight[:1]

    def forward(self, x):
        self.separable(x)
        self.noise(torch.sin(1e4 * x))
        self.flat(x)
        return self.head(x + 0 * self.broken(x * torch.inf).nan_to_num())


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 12, generator=generator)
    y = torch.arange(N) % 3
    x[torch.arange(N), y] += 30
    return Task(Known, CachedSplit("train", x, y))


def found(task, condition, layers, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Known().eval()
    return {verdict.layer: verdict for verdict in ch.check(model, task, condition, layers=layers, options=options)}


def test_separability_tells_separable_features_from_noise(task):
    verdicts = found(task, "separability", ["separable", "noise"], drop=2)
    assert verdicts["separable"].status == "holds"
    assert verdicts["separable"].details["margin"] > 0
    assert verdicts["noise"].status == "fails"
    assert verdicts["noise"].measured > N / 4
    assert verdicts["separable"].details["kept"] == 10


def test_separability_never_says_that_nan_or_silent_features_hold(task):
    verdicts = found(task, "separability", ["broken", "silent"])
    assert {name: verdict.status for name, verdict in verdicts.items()} == {
        "broken": "invalid",
        "silent": "invalid",
    }
    assert "NaN" in verdicts["broken"].reason
    assert "never fired" in verdicts["silent"].reason


def test_separability_wants_classes(task):
    targets = torch.randn(N, 3)
    real = Task(Known, CachedSplit("train", task.train.inputs, targets))
    (verdict,) = ch.check(Known(), real, "separability", layers=["noise"])
    assert (verdict.status, verdict.layer) == ("invalid", None)
    assert "needs class labels" in verdict.reason
    assert found(real, "feature-rank", ["noise"])["noise"].status != "invalid"


def test_one_seed_gives_one_answer(task):
    assert found(task, "separability", ["noise"]) == found(task, "separability", ["noise"])


def test_feature_rank_finds_the_rank(task):
    verdicts = found(task, "feature-rank", ["separable", "flat", "broken", "silent"])
    assert verdicts["separable"].details["rank"] == 12
    assert verdicts["flat"].details["rank"] == 2
    assert verdicts["flat"].status == "fails"
    assert {verdicts[name].status for name in ("broken", "silent")} == {"invalid"}


def test_an_unknown_option_is_refused_with_near_matches(task):
    with pytest.raises(UsageError, match="no option 'fractoin'; did you mean 'fraction'"):
        found(task, "separability", ["noise"], fractoin=0.5)


CONDITIONS = ["separability", "feature-rank", "dropout-stability", "subnetwork", "memorization"]
QUICK = {"subnetwork": {"epochs": 1}, "separability": {"iterations": 5}}


class SequenceFirst(nn.Module):
    """An `nn.TransformerEncoder`, by default sequence first, on samples (N, T, D)."""

    def __init__(self, batch_first=False):
        super().__init__()
        self.first = 0 if batch_first else 1
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.hidden(self.encoder(x.transpose(0, self.first)).mean(1 - self.first)).relu())


class Named(nn.Module):
    """Token numbers and a mask by name, a mapping with logits back: as Transformers' models."""

    def __init__(self, returned=None):
        super().__init__()
        self.embed, self.body, self.twice = nn.Embedding(9, 8), nn.Linear(8, 8), nn.ReLU()
        self.more, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.returned = returned or (lambda logits, hidden: {"logits": logits, "hidden": hidden})

    def forward(self, input_ids, attention_mask):
        hidden = (self.embed(input_ids) * attention_mask[..., None]).sum(1)
        hidden = self.twice(self.more(self.twice(self.body(hidden))))
        return self.returned(self.head(hidden), hidden)


def verdicts(condition, observation):
    kind = registry().condition(condition)
    options = QUICK.get(condition, {})
    return {found.layer: found for found in kind(kind.Options(**options)).check(observation)}


def named_batches(*, by_name):
    ids = torch.randint(9, (30, 4), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(30, 4)
    inputs = {"input_ids": ids, "attention_mask": mask} if by_name else (ids, mask)
    return read_probe([(inputs, torch.arange(30) % 3)], 30, seed=0)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_bad_layer_is_one_invalid_verdict(task, condition):
    layers = ["separable", "silent", "broken", "head"]
    observation = Observation(Known().eval(), task.train, task.loss, layers, 100)
    found = verdicts(condition, observation)
    assert set(found) == set(layers)
    assert {layer for layer in layers if found[layer].holds is None} == {"silent", "broken"}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("tokens", [10, 64])
def test_sequence_first_modules_are_measured_as_batch_first_ones(condition, tokens):
    x = torch.randn(64, tokens, 16, generator=torch.Generator().manual_seed(0))
    models = SequenceFirst().eval(), SequenceFirst(batch_first=True).eval()
    models[1].load_state_dict(models[0].state_dict())
    task = Task(SequenceFirst, CachedSplit("train", x, torch.arange(64) % 3), batch_size=64)
    layers = ["encoder.layers.0", "encoder.layers.0.self_attn.out_proj", "hidden"]
    first, again, wanted = (
        ch.check(model, task, condition, layers=layers, options=QUICK.get(condition))
        for model in (models[0], models[0], models[1])
    )
    assert first == again
    for found, expected in zip(first, wanted, strict=True):
        assert (found.layer, found.holds) == (expected.layer, expected.holds)
        if found.measured is not None:
            assert found.measured == pytest.approx(expected.measured, rel=1e-4, abs=1e-5)
    assert "attention uses its weights directly; capture encoder.layers.0.self_attn" in first[1].reason
    assert all(found.holds is not None for found in (first[0], first[2]))


class Pooled(nn.Module):
    """One layer alone, then the mean over its tokens."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.first = layer, 0 if layer.self_attn.batch_first else 1

    def forward(self, x):
        return self.layer(x.transpose(0, self.first)).mean(1 - self.first)


@pytest.mark.parametrize("samples", [64, 10])
@pytest.mark.parametrize("condition", ["separability", "feature-rank"])
def test_a_layer_of_its_own_on_as_many_tokens_as_samples(samples, condition):
    layer, twin = nn.TransformerEncoderLayer(16, 2).eval(), nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(samples, 10, 16, generator=torch.Generator().manual_seed(0))
    split = CachedSplit("train", x, torch.arange(samples) % 3)
    found, wanted = (
        verdicts(condition, Observation(Pooled(each).eval(), split, LOSSES["cross-entropy"], ["layer"]))["layer"]
        for each in (layer, twin)
    )
    assert found.holds == wanted.holds
    assert found.holds is not None
    assert found.measured == pytest.approx(wanted.measured, rel=1e-6)
    assert found.details["neurons"] == 16


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_module_called_twice_is_answered_call_by_call(condition):
    observation = Observation(
        Named().eval(), named_batches(by_name=True), LOSSES["cross-entropy"], ["body", "twice[0]", "twice[1]"], 8
    )
    found = verdicts(condition, observation)
    assert set(found) == {"body", "twice[0]", "twice[1]"}
    assert all(verdict.holds is not None for verdict in found.values())


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("by_name", [True, False])
def test_inputs_by_name_and_in_a_row_are_measured_alike(condition, by_name):
    torch.manual_seed(0)
    model = Named().eval()
    layers = ["embed:input", "body", "more:input", "head:input"]
    observation = Observation(model, named_batches(by_name=by_name), LOSSES["cross-entropy"], layers, 8)
    found = verdicts(condition, observation)
    assert found["embed:input"].status == "invalid"
    assert all(found[layer].holds is not None for layer in layers[1:])

    class OneTensor(nn.Module):
        def __init__(self):
            super().__init__()
            self.named = model

        def forward(self, x):
            return model(x, torch.ones_like(x, dtype=torch.float32))["logits"]

    ids = next(iter(named_batches(by_name=False).batches(30)))[0][0]
    plain = CachedSplit("train", ids, torch.arange(30) % 3)
    renamed = [f"named.{layer}" for layer in layers]
    wanted = verdicts(condition, Observation(OneTensor().eval(), plain, LOSSES["cross-entropy"], renamed, 8))
    for layer in layers[1:]:
        assert found[layer].measured == pytest.approx(wanted[f"named.{layer}"].measured, rel=1e-5, abs=1e-6)


RETURNED = {
    "two tensors": (
        lambda logits, hidden: (logits, hidden),
        r"tuple; say which are the outputs: output= \(--output\) takes one of 0, 1",
    ),
    "no tensor": (lambda logits, hidden: "none", "returned a str without tensors"),
    "rows that are no samples": (lambda logits, hidden: logits.T, r"outputs \(3, .*expected a row for each"),
    "another number of classes": (lambda logits, hidden: logits[:, :1].sum(1), "cross-entropy"),
    "NaN": (lambda logits, hidden: logits * torch.nan, "loss is nan"),
}


@pytest.mark.parametrize("case", RETURNED)
@pytest.mark.parametrize("condition", ["dropout-stability", "subnetwork"])
def test_outputs_without_a_loss_are_one_invalid_verdict(condition, case):
    returned, words = RETURNED[case]
    observation = Observation(
        Named(returned).eval(), named_batches(by_name=True), LOSSES["cross-entropy"], ["body", "more"], 8
    )
    found = verdicts(condition, observation)
    assert list(found) == [None]
    assert re.search(words, found[None].reason)


def test_every_layer_proposed_for_a_network_with_a_reused_relu_is_answered():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.bn1, self.bn2, self.relu = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)

    def network():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    x = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    task = Task(network, CachedSplit("train", x, torch.arange(20) % 3), batch_size=8)
    model = task.model()
    layers = observe(model, task).layers
    assert {"2.relu[0]", "2.relu[1]", "3.relu[0]", "3.relu[1]"} < set(layers)
    for condition in CONDITIONS:
        found = ch.check(model, task, condition, options=QUICK.get(condition))
        assert [verdict.layer for verdict in found] == list(layers)
        assert all(verdict.holds is not None for verdict in found)


def test_proposed_layers_that_cannot_be_measured_are_said(task):
    with pytest.warns(UserWarning, match=r"check: layers that cannot be looked at: .*silent:input \(never fired"):
        found = ch.check(Known().eval(), task, "feature-rank")
    assert "silent:input" not in {verdict.layer for verdict in found}


@pytest.mark.parametrize("name", sorted(registry().conditions))
def test_a_layer_without_neurons_and_a_single_sample_end_no_check(name):
    empty = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 0), nn.Linear(0, 3))
    small = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    for model, count in ((empty, 20), (small, 1)):
        x, y = torch.randn(count, 12), torch.arange(count) % 3
        task = Task(factory=nn.Identity, train=CachedSplit("train", x, y), loss=LOSSES["cross-entropy"])
        assert ch.check(model.eval(), task, name)


def test_what_a_condition_raises_is_one_invalid_verdict():
    class Raising(type(make_condition("feature-rank"))):
        def check(self, observation):
            yield from list(super().check(observation))[:1]
            raise ZeroDivisionError("by nothing")

    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    split = CachedSplit("train", torch.randn(20, 12), torch.arange(20) % 3)
    observation = Observation(model, split, LOSSES["cross-entropy"], ["2"])
    made = make_condition("feature-rank")
    raising = Raising(made.options, seed=0, progress=made.progress)
    found = checking_verdicts(raising, observation, "here")
    assert [verdict.status for verdict in found][1:] == ["invalid"]
    assert "by nothing" in found[-1].reason
    with pytest.raises(ZeroDivisionError):
        checking_verdicts(raising, observation, "here", strict=True)


@pytest.mark.parametrize("answer", [[3], None, ["holds"]])
def test_a_condition_that_gives_no_verdicts_is_one_invalid_verdict(answer):
    made = make_condition("feature-rank")
    giving = type("Giving", (type(made),), {"check": lambda self, observation: answer})(made.options)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    split = CachedSplit("train", torch.randn(20, 4), torch.arange(20) % 3)
    (found,) = checking_verdicts(giving, Observation(model, split, LOSSES["cross-entropy"], ["1"]), "here")
    assert found.status == "invalid"
    assert type(answer[0] if answer else answer).__name__ in found.reason
