"""What a probe forward leaves as it was: each test fails without the protection it is about."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from watched_training import Mean, data, steps

import connectivity_hooks as ch

X, Y = data()


def check(model, **options):
    """Check once and return the verdicts."""
    with ch.watch(model, (X, Y), conditions=[Mean()], strict=True, **options) as watch:
        watch.step()
    return watch.verdicts


class Recording(nn.Module):
    """Notes in which state its forward ran."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(6))
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.mean = x.mean(0)
        self.seen.append((self.training, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), x.dtype))
        return self.last(self.first(x).relu())


def test_it_runs_in_evaluation_mode_without_gradients_and_autocast():
    model = Recording()
    with torch.autocast("cpu", torch.bfloat16):
        check(model, layers="first")
        assert torch.is_autocast_enabled("cpu")
    assert set(model.seen) == {(False, False, False, torch.float32)}


def test_features_are_computed_in_the_types_of_the_weights():
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)).double()
    with torch.autocast("cpu", torch.bfloat16):
        (verdict,) = check(model, layers="0")
    with torch.no_grad():
        assert verdict.measured == pytest.approx(float(model[0](X.double()).mean()), rel=1e-6)


def test_training_flags_are_kept_module_by_module(net):
    net[1].eval()
    before = [module.training for module in net.modules()]
    check(net)
    assert [module.training for module in net.modules()] == before


def test_a_train_of_the_models_own_is_not_called():
    class Merging(nn.Sequential):
        def train(self, mode=True):
            with torch.no_grad():
                self[0].weight.mul_(2.0)  # as adapters that are merged into the weights for evaluation
            return super().train(mode)

    model = Merging(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    before = model[0].weight.clone()
    check(model)
    assert torch.equal(model[0].weight, before)


def test_buffers_that_a_forward_changes_are_kept():
    model = Recording()
    buffers = dict(model.named_buffers())
    check(model, layers="first")
    assert model.calls == 0
    assert torch.equal(model.mean, torch.zeros(6))
    assert all(value is buffers[name] for name, value in model.named_buffers())


def test_generators_of_the_models_own_are_kept():
    class Noisy(nn.Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.generator = torch.Generator().manual_seed(1)

        def forward(self, x):
            return super().forward(x + torch.randn(x.shape, generator=self.generator))

    model = Noisy(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    before = model.generator.get_state()
    check(model)
    assert torch.equal(model.generator.get_state(), before)


def test_gradients_are_kept(net):
    net(X).sum().backward()
    before = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    check(net)
    assert all(torch.equal(parameter.grad, before[name]) for name, parameter in net.named_parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradient_modes_are_kept_and_conditions_may_train_networks_of_their_own(task, net, mode):
    with mode():
        with ch.watch(net, task, conditions={"subnetwork": {"epochs": 1, "draws": 1}}, strict=True) as watch:
            watch.step()
        assert not torch.is_grad_enabled()
    assert len(watch.verdicts) == 2


def test_captures_of_the_users_own_do_not_see_the_probe(net):
    with ch.capture(net, every=2) as features:
        net(X[:5])
        check(net)
        assert len(features["2"]) == 5
        net(X[:7])
        check(net)
        assert len(features["2"]) == 5
        net(X[:9])
        assert len(features["2"]) == 9


class TestCompiled:
    @pytest.fixture(autouse=True)
    def fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.parametrize("fullgraph", [False, True])
    @pytest.mark.parametrize("attached", ["before", "after"])
    def test_a_compiled_model_is_watched_and_compiled_no_more_often(self, net, fullgraph, attached):
        counter = CompileCounter()
        compiled = torch.compile(net, backend=counter, fullgraph=fullgraph)
        if attached == "after":
            steps(compiled, 2)
        with ch.watch(compiled, (X, Y), every=2, conditions=[Mean()], strict=True) as watch:
            steps(compiled, 6, watch)
        assert counter.frame_count == 1
        assert {row.status for row in watch.history} <= {"holds", "fails"}
        assert len({row.measured for row in watch.history if row.layer == "2"}) == 3

    def test_a_model_compiled_in_place_is_watched_and_compiled_no_more_often(self, net):
        plain, watched = CompileCounter(), CompileCounter()
        unwatched = copy.deepcopy(net)
        unwatched.compile(backend=plain)
        steps(unwatched, 6)
        net.compile(backend=watched)
        with ch.watch(net, (X, Y), every=2, conditions=[Mean()], strict=True) as watch:
            steps(net, 6, watch)
        assert watched.frame_count == plain.frame_count  # none in PyTorch 2.6, for a Sequential
        assert {row.status for row in watch.history} <= {"holds", "fails"}
