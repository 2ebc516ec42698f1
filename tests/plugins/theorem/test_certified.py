"""The certified path, checked by code that shares nothing with the builder: plain float64 passes at many t."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from connectivity_hooks.contracts.options import make_options
from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.testing import BuilderSuite
from connectivity_hooks_theorem.certified import Certified

N = 240


def mlp(*widths):
    layers = [nn.Flatten()]
    for before, after in zip((10, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 3))


def make_task(factory=lambda: mlp(40, 33, 40)):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * N, 10, generator=generator)
    y = (x @ torch.randn(10, 3, generator=generator)).argmax(1)
    return Task(factory, CachedSplit("train", x[:N], y[:N]), CachedSplit("test", x[N:], y[N:]), batch_size=100)


def trained(task, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = task.factory()
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(150):
            loss = cross_entropy(net(task.train.inputs), task.train.targets())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def certified(**options):
    return Certified(make_options(Certified.Options, options, "certified"))


class TestCertifiedConforms(BuilderSuite):
    builder = Certified

    def make_task(self):
        return make_task()

    def make_weights(self, seed):
        return trained(self.make_task(), seed)


@pytest.fixture(scope="module")
def built():
    task = make_task()
    a, b = trained(task, 1), trained(task, 2)
    return task, a, b, certified().build(a, b, task)


def exact(task, weights, split):
    """Return the outputs and the mean loss of a fresh module in float64."""
    net = task.factory().double()
    net.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    with torch.no_grad():
        outputs = net(split.inputs.double())
    return outputs, cross_entropy(outputs, split.targets()).item()


def test_no_point_of_the_path_exceeds_the_bound(built):
    task, _, _, path = built
    bound = evaluate(path, task).bound
    generator = torch.Generator().manual_seed(0)
    for segment in range(len(path.guarantees)):
        left, right = path.positions[segment : segment + 2]
        for share in torch.rand(10, generator=generator).tolist():
            weights = path(left + share * (right - left))
            for split in task.splits():
                assert exact(task, weights, split)[1] <= bound[split.name] * (1 + 1e-6)


def test_separable_features_give_a_proven_zero_barrier(built):
    task, a, b, path = built
    evaluation = evaluate(path, task)
    ends = [exact(task, end, task.train)[1] for end in (a, b)]
    assert evaluation.bound["train"] == pytest.approx(max(ends), rel=1e-4)
    assert evaluation.conclusion.verdict == "proven"


def test_convex_segments_move_the_output_layer_alone_and_constant_ones_no_output(built):
    task, _, _, path = built
    assert set(path.guarantees) == {"constant", "convex"}
    points = list(path.points())
    for guarantee, before, after in zip(path.guarantees, points, points[1:], strict=False):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        if guarantee == "convex":
            assert moved <= {"7.weight", "7.bias"}
        else:
            outputs = [exact(task, point, task.test)[0] for point in (before, after)]
            torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)


def test_a_target_below_the_ends_is_reached_where_the_features_allow_it(built):
    task, a, b, _ = built
    path = certified(target_loss=1e-7).build(a, b, task)
    losses = [exact(task, point, task.train)[1] for point in path.points()]
    assert min(losses) <= 1e-7


def test_the_file_holds_blocks_rather_than_models(built, tmp_path):
    _, a, _, path = built
    path.save(tmp_path / "p.path.safetensors")
    size = sum(tensor.numel() * 4 for tensor in a.values())
    assert (tmp_path / "p.path.safetensors").stat().st_size < len(path.positions) / 3 * size


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(10, 40), nn.Linear(40, 40), nn.Linear(40, 3)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        return self.fc3(x + torch.relu(self.fc2(x)))


REFUSED = {
    "residual": (Residual, "aten.add joins branches"),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(10, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 3)),
        "aten.layer_norm",
    ),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(10, 40), nn.Sigmoid(), nn.Linear(40, 3)), "aten.sigmoid"),
    "no activation": (lambda: nn.Sequential(nn.Linear(10, 40), nn.Linear(40, 3)), "without a ReLU between"),
    "no bias": (lambda: nn.Sequential(nn.Linear(10, 40, bias=False), nn.ReLU(), nn.Linear(40, 3)), "with a bias"),
    "no hidden layer": (lambda: nn.Sequential(nn.Linear(10, 3)), "expected hidden layers"),
    "narrow": (lambda: mlp(40, 9, 40), "layer 3.weight has 9 neurons, 4 too few"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_wide_enough_relu_chain_is_refused_by_name(case):
    factory, words = REFUSED[case]
    task = make_task(factory)
    ends = [{name: tensor.clone() for name, tensor in factory().state_dict().items()} for _ in range(2)]
    with pytest.raises(InputError) as error:
        certified().build(*ends, task)
    assert words in str(error.value)
    assert "--builder linear" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_losses_are_refused(built):
    task, a, b, _ = built
    with pytest.raises(InputError, match="the loss mse is not the cross-entropy"):
        certified().build(a, b, replace(task, loss=LOSSES["mse"]))
