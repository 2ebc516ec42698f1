"""The certified path, checked by code that shares nothing with the builder: plain float64 passes at many t."""

from dataclasses import replace

import pytest
import torch
from small_networks import CLASSES, assert_proven, certified, exact, image_task, mlp, trained, vector_task
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.tasks import LOSSES, CachedSplit
from connectivity_hooks.testing import BuilderSuite
from connectivity_hooks_theorem.certified.builder import Certified


class TestCertifiedConforms(BuilderSuite):
    builder = Certified

    def make_task(self):
        return vector_task(lambda: mlp(24, 24))

    def make_weights(self, seed):
        return trained(self.make_task(), seed)


def test_no_point_of_the_path_exceeds_the_bound(built):
    task, _, _, path = built
    bounds = assert_proven(task, path)
    assert evaluate(path, task).bound == pytest.approx(bounds, rel=1e-4)


def test_separable_features_give_a_proven_zero_barrier(built):
    task, a, b, path = built
    evaluation = evaluate(path, task)
    ends = [exact(task, end, task.train)[1] for end in (a, b)]
    assert evaluation.bound["train"] == pytest.approx(max(ends), rel=1e-4)
    assert evaluation.conclusion.verdict == "proven"


def test_a_target_below_the_ends_is_reached_where_the_features_allow_it(built):
    task, a, b, _ = built
    path = certified(target_loss=1e-7).build(a, b, task)
    losses = [exact(task, point, task.train)[1] for point in path.points()]
    assert min(losses) <= 1e-7


def test_every_cut_is_written_and_switched_to_and_nothing_else_moves(built):
    half = ["convex", *["constant", "convex"] * 2]  # in front of the output layer nothing has to be written
    assert list(built[3].guarantees) == [*half, "constant", "convex", "constant", *reversed(half)]


def test_the_file_holds_blocks_rather_than_models(built, tmp_path):
    _, a, _, path = built
    path.save(tmp_path / "p.path.safetensors")
    size = sum(tensor.numel() * 4 for tensor in a.values())
    assert (tmp_path / "p.path.safetensors").stat().st_size < len(path.positions) / 3 * size


def convolutional(activation=nn.ReLU, norm=True, depthwise=False):
    second = [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 1)] if depthwise else [nn.Conv2d(8, 12, 3)]
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=not norm),
        *([nn.BatchNorm2d(8)] if norm else []),
        activation(),
        nn.Dropout(0.1),
        *second,
        activation(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48 if depthwise else 12, 16),
        activation(),
        nn.Linear(16, CLASSES),
    )


def classifier_by_convolution():
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def normalised():
    return nn.Sequential(
        nn.Linear(10, 24, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 25),
        nn.ReLU(),
        nn.Linear(25, CLASSES),
    )


CHAINS = {
    "leaky relu": (vector_task, lambda: mlp(24, 24, 24, activation=nn.LeakyReLU)),
    "gelu": (vector_task, lambda: mlp(24, 24, 24, activation=nn.GELU)),
    "tanh": (vector_task, lambda: mlp(20, 21, activation=nn.Tanh)),
    "no bias": (vector_task, lambda: mlp(24, 24, bias=False)),
    "narrow": (vector_task, lambda: mlp(20, 7, 20)),
    "norm of vectors": (vector_task, normalised),
    "convolutions": (image_task, lambda: convolutional(norm=False)),
    "batch norm": (image_task, convolutional),
    "depthwise": (image_task, lambda: convolutional(nn.SiLU, depthwise=True)),
    "classifier by convolution": (image_task, classifier_by_convolution),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chains_of_every_kind_are_connected_and_proven(case):
    make_task, factory = CHAINS[case]
    task = make_task(factory)
    a, b = trained(task, 1), trained(task, 2)
    path = certified(effort="quick").build(a, b, task)
    assert_proven(task, path, tolerance=1e-6)
    ends = max(exact(task, end, task.train)[1] for end in (a, b))
    assert max(exact(task, point, task.train)[1] for point in path.points()) < max(1.2 * ends, 0.3)


def test_neurons_an_end_never_reads_may_serve_its_sub_networks():
    task = vector_task(lambda: mlp(24, 24, 24))
    a, b = trained(task, 1), trained(task, 2)
    a["3.weight"][:, ::2] = 0  # pruned: half of the first layer's neurons
    ends = max(exact(task, end, task.train)[1] for end in (a, b))
    path = certified(subsets="random").build(a, b, task)
    assert_proven(task, path, tolerance=1e-6)
    assert max(exact(task, point, task.train)[1] for point in path.points()) <= 1.01 * ends


def test_a_squared_loss_is_connected_too():
    task = vector_task(lambda: mlp(24, 24))
    targets = [torch.nn.functional.one_hot(split.targets(), CLASSES).float() for split in task.splits()]
    splits = [CachedSplit(s.name, s.inputs, t) for s, t in zip(task.splits(), targets, strict=True)]
    task = replace(task, train=splits[0], test=splits[1], loss=LOSSES["mse"])
    a, b = (trained(task, seed, loss=torch.nn.functional.mse_loss) for seed in (1, 2))
    bounds = assert_proven(task, certified().build(a, b, task))
    assert bounds["train"] < 1.5 * max(exact(task, end, task.train)[1] for end in (a, b)) + 0.02


class Scaled(nn.Module):
    """Neurons are multiplied by weights of their own, as by LayerScale."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(10, 40), nn.Linear(40, 3)
        self.gain = nn.Parameter(torch.ones(40))

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)) * self.gain)


class Attentive(nn.Module):
    """Attention over four tokens."""

    def __init__(self):
        super().__init__()
        self.up, self.attention, self.down = nn.Linear(10, 32), nn.MultiheadAttention(8, 2), nn.Linear(32, 3)

    def forward(self, x):
        tokens = torch.relu(self.up(x)).unflatten(1, (4, 8))
        return self.down(self.attention(tokens, tokens, tokens)[0].flatten(1))


class Halved(nn.Module):
    """Some neurons are picked from the others."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(10, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x))[:, :4])


REFUSED = {
    "attention": (Attentive, "attention (MultiheadAttention) is softmax attention"),
    "a slice": (Halved, "aten.slice (Halved) does not act neuron by neuron"),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(10, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 3)),
        "1 (LayerNorm) is a layer norm, which normalises over neurons",
    ),
    "scaled neurons": (Scaled, "aten.mul (gain) multiplies by weights"),
    "softmax": (
        lambda: nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)),
        "3 (Softmax) is a softmax, which normalises over neurons",
    ),
    "activated outputs": (
        lambda: nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3), nn.Tanh()),
        "aten.tanh (3) follows the output layer, and is not linear",
    ),
    "no hidden layer": (lambda: nn.Sequential(nn.Linear(10, 3)), "expected hidden layers"),
    "one neuron": (lambda: mlp(8, 1, 8), "3.weight makes 1 neuron, two sides need 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_chain_is_refused_by_name(case):
    factory, words = REFUSED[case]
    task = vector_task(factory)
    ends = [{name: tensor.clone() for name, tensor in factory().state_dict().items()} for _ in range(2)]
    with pytest.raises(InputError) as error:
        certified().build(*ends, task)
    assert words in str(error.value)
    assert "--builder linear" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_input_read_in_groups_is_refused():
    factory = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(2, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, CLASSES)
    )
    task = image_task(factory)
    with pytest.raises(InputError, match="reads the input in 2 groups"):
        certified().build(factory().state_dict(), factory().state_dict(), task)


def test_a_loss_that_is_not_known_to_be_convex_is_refused(built):
    task, a, b, _ = built
    own = replace(LOSSES["cross-entropy"], name="net.py:loss", convex=False)
    with pytest.raises(InputError, match=r"net\.py:loss is not known to be convex"):
        certified().build(a, b, replace(task, loss=own))


def test_a_dead_layer_is_named(built):
    task, a, _, _ = built
    dead = {**a, "3.weight": torch.zeros_like(a["3.weight"]), "3.bias": -torch.ones_like(a["3.bias"])}
    with pytest.raises(InputError, match=r"end B: every neuron of 3.weight is silent"):
        certified().build(a, dead, task)


def test_fewer_samples_than_classes_are_refused(built):
    task, a, b, _ = built
    with pytest.raises(InputError, match="2 training samples are fewer than the 3 classes"):
        certified().build(a, b, replace(task, train=task.train.head(2)))


def test_targets_that_do_not_fit_the_loss_are_refused(built):
    task, a, b, _ = built
    with pytest.raises(InputError, match=r"loss mse: outputs have shape \(240, 3\)"):
        certified().build(a, b, replace(task, loss=LOSSES["mse"]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("case", ["no bias", "batch norm", "depthwise"])
def test_a_path_built_on_a_gpu_is_proven_on_the_processor(case):
    make_task, factory = CHAINS[case]
    task = make_task(factory)
    a, b = trained(task, 1), trained(task, 2)
    device = torch.device("cuda")
    there = replace(task, device=device, train=task.train.to(device, task.dtype), test=task.test.to(device, task.dtype))
    path = certified(effort="quick").build(a, b, there)
    assert {tensor.device.type for tensor in path(0.5).values()} == {"cpu"}
    assert_proven(task, path, tolerance=1e-6)


@pytest.mark.parametrize("subsets", ["random", "probe"])
def test_other_subsets_are_proven_too(subsets):
    task = vector_task(lambda: mlp(24, 24))
    a, b = trained(task, 1), trained(task, 2)
    path = certified(subsets=subsets, effort="quick").build(a, b, task)
    assert_proven(task, path)
    bounds = [exact(task, point, task.train)[1] for point in path.points()]
    assert max(bounds) < 0.3


def test_sub_networks_learn_targets_where_asked_to():
    task = vector_task(lambda: mlp(24, 24))
    a, b = trained(task, 1), trained(task, 2)
    paths = [certified(learn=learn, effort="quick").build(a, b, task) for learn in ("outputs", "targets")]
    for path in paths:
        assert_proven(task, path, tolerance=1e-6)
    mine, theirs = (path(0.5)["5.weight"] for path in paths)
    assert not mine.equal(theirs)


class Pairs(CachedSplit):
    """A split whose model reads two named tensors."""

    def batches(self, size):
        for inputs, targets in super().batches(size):
            yield {"left": inputs, "right": inputs[:, :4]}, targets

    def head(self, count):
        return Pairs(self.name, self.inputs[:count], self.targets()[:count])


def test_a_model_of_several_inputs_is_refused_in_one_line(built):
    task, a, b, _ = built
    pairs = Pairs("train", task.train.inputs, task.train.targets())
    with pytest.raises(InputError) as error:
        certified().build(a, b, replace(task, train=pairs))
    assert str(error.value) == (
        "builder certified: the network reads left (10,), right (4,), expected one tensor; use --builder linear, whose "
        "barrier is measured"
    )
