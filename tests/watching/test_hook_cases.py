"""What bites hooks, seen through watch: models and trainings of every kind, probe and training mode."""

import copy
import dataclasses
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint
from watched_training import Mean, data, steps

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError

X, Y = data()


def hook_count(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def check(model, probe=(X, Y), **options):
    """Check once, strictly, and return {layer: measured}."""
    with ch.watch(model, probe, conditions=[Mean()], **{"strict": True, **options}) as watch:
        watch.step()
    return {row.layer: row.measured for row in watch.history}


def mean_of(tensor):
    return pytest.approx(float(tensor.detach().mean()), rel=1e-5, abs=1e-6)  # another machine adds in another order


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)
        self.reentrant = reentrant

    def forward(self, x):
        return self.last(checkpoint(lambda v: self.act(self.first(v)), x, use_reentrant=self.reentrant))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("mode", ["probe", "training"])
def test_activation_checkpointing(reentrant, mode):
    model, x = Checkpointed(reentrant), X.clone().requires_grad_()
    with ch.watch(
        model,
        **{"probe": {"probe": (X, Y)}, "training": {"mode": mode, "capture_every": 1}}[mode],
        conditions=[Mean()],
        layers=["first", "act"],
        every=1,
        strict=True,
    ) as watch:
        F.cross_entropy(model(x), Y).backward()
        watch.step(Y)
    assert {row.layer: row.measured for row in watch.history} == {
        "first": mean_of(model.first(X)),
        "act": mean_of(model.first(X).relu()),
    }


def test_a_shared_module_has_a_verdict_for_each_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.last = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.act(self.first(self.act(x))))

    model = Shared()
    expected = {"act[0]": mean_of(X.relu()), "act[1]": mean_of(model.first(X.relu()).relu())}
    assert check(model, layers="act") == expected
    with ch.watch(model, mode="training", conditions=[Mean()], layers="act", strict=True, capture_every=1) as watch:
        model(X)
        watch.step()
    assert {row.layer: row.measured for row in watch.history} == expected


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: None = None


@pytest.mark.parametrize("wrap", [lambda y: (y, None), lambda y: {"out": y}, Output])
def test_structured_outputs(wrap):
    class Inner(nn.Linear):
        def forward(self, x):
            return wrap(super().forward(x))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner(6, 3)

        def forward(self, x):
            return self.inner(x)

    model = Outer()
    assert check(model, layers="inner") == {"inner": mean_of(F.linear(X, model.inner.weight, model.inner.bias))}


def test_inputs_by_name_and_in_a_row():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x, *, scale):
            return self.last(self.first(x * scale[:, None]))

    class Two(Named):
        def forward(self, x, scale):
            return super().forward(x, scale=scale)

    scale = X[:, 0]
    for model, inputs in ((Named(), {"x": X, "scale": scale}), (Two(), (X, scale))):
        assert check(model, [(inputs, Y)], layers="first") == {"first": mean_of(model.first(X * scale[:, None]))}
    named = {"x": X, "scale": scale, "labels": Y}
    assert set(check(Named(), [named], layers="first")) == {"first"}


@pytest.mark.filterwarnings("ignore:watch. mean. layers.0.self_attn.out_proj cannot be measured")
def test_encoder_layers_are_watched_and_a_bypassed_projection_is_named():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), 2)
    probe = [(torch.randn(10, 4, 6), torch.zeros(10, dtype=torch.long))]
    with pytest.warns(UserWarning, match=r"self_attn.out_proj never fired: .* capture layers.0.self_attn"):
        found = check(encoder, probe, layers=["layers.0", "layers.1", "layers.0.self_attn.out_proj"], strict=False)
    assert found["layers.0"] is not None
    assert found["layers.0.self_attn.out_proj"] is None


def test_an_average_is_looked_at_only_when_it_is_given(net, tmp_path):
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.0))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
    own, averaged = check(net), check(net, ema=average)
    assert own != averaged
    assert averaged == check(average.module)
    with ch.watch(net, (X, Y), conditions=[Mean()], ema=average, save=tmp_path, strict=True) as watch:
        watch.step()
    assert {row.weights for row in watch.history} == {"ema"}
    saved = ch.checkpoints.read(tmp_path / "step_00000001.safetensors")
    assert torch.equal(saved.weights["0.weight"], average.module[0].weight)


def test_copies_of_a_watched_model_are_not_listened_to(net):
    with ch.watch(net, mode="training", conditions=[Mean()], capture_every=1, strict=True) as watch:
        average = copy.deepcopy(net)
        net(X[:4])
        average(X)
        watch.step(Y[:4])
        watch.check()
    assert {verdict.details["rows"] for verdict in watch.verdicts} == {4}


@pytest.mark.parametrize("mode", ["probe", "training"])
def test_a_watched_model_can_be_saved_whole(net, mode):
    options = {"mode": mode} if mode == "training" else {"probe": (X, Y)}
    with ch.watch(net, conditions=[Mean()], **options) as watch:
        steps(net, 2, watch)
        buffer = io.BytesIO()
        torch.save(net, buffer)
        buffer.seek(0)
    copied = torch.load(buffer, weights_only=False)
    assert torch.equal(copied.eval()(X), net.eval()(X))


def test_gradient_accumulation_counts_optimizer_steps(net):
    with ch.watch(
        net, mode="training", every=2, capture_every=1, samples=32, conditions=[Mean()], strict=True
    ) as watch:
        for _ in range(4):
            for rows in (slice(0, 5), slice(5, 12), slice(12, 16)):
                net(X[rows])
            watch.step([Y[0:5], Y[5:12], Y[12:16]])
    assert watch.steps == 4
    assert sorted({row.step for row in watch.history}) == [2, 4]
    assert {verdict.details["rows"] for verdict in watch.verdicts} == {32}


def test_validation_passes_change_nothing(net):
    def rows(validate):
        with ch.watch(
            net, mode="training", every=3, capture_every=1, samples=12, conditions=[Mean()], strict=True
        ) as watch:
            for _ in range(3):
                net(X[:4])
                if validate:
                    with torch.no_grad():
                        net.eval()(X)
                    net.train()
                watch.step(Y[:4])
        return [verdict.details["rows"] for verdict in watch.verdicts]

    assert rows(validate=True) == rows(validate=False) == [12, 12]


def test_a_small_last_batch_and_a_batch_of_one():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    probe = [(X[:5], Y[:5]), (X[5:6], Y[5:6])]
    assert check(model, probe, layers="0") == {"0": mean_of(model[0](X[:6]))}
    with ch.watch(model, mode="training", conditions=[Mean()], capture_every=1, strict=True, layers="0") as watch:
        for rows in (slice(0, 5), slice(5, 6), slice(6, 6)):
            model(X[rows])
            watch.step(Y[rows])
    assert watch.verdicts[0].measured == mean_of(model[0](X[:6]))


def test_empty_data_is_refused_at_once(net):
    with pytest.raises(InputError, match="probe: has no samples"):
        ch.watch(net, [])


def test_a_check_waits_until_as_many_rows_passed_as_were_asked_for(net):
    with ch.watch(
        net, mode="training", every=2, capture_every=2, samples=40, conditions=[Mean()], strict=True
    ) as watch:
        steps(net, 16, watch, targets=True)
    assert sorted({row.step for row in watch.history}) == [5, 11]  # steps 1, 3, 5 … are listened to, of 16 rows
    assert {verdict.details["rows"] for verdict in watch.verdicts} == {40}


@pytest.mark.parametrize("mode", ["probe", "training"])
def test_hooks_are_gone_when_the_block_ends_also_by_an_exception(net, mode):
    options = {"mode": mode, "capture_every": 1} if mode == "training" else {"probe": (X, Y)}
    watch = ch.watch(net, conditions=[Mean()], **options)

    def fail():
        with watch:
            net(X[:4])
            watch.step(Y[:4])
            raise RuntimeError("user")

    with pytest.raises(RuntimeError, match="user"):
        fail()
    assert hook_count(net) == 0
    watch.close()
    watch.step()
    assert watch.check() == ()


def test_lazy_modules_are_not_initialised_by_the_probe():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watch = ch.watch(model, (X, Y), conditions=[Mean()], layers="1", every=1)
    assert "0.weight is not initialised yet" in watch.faults[0]
    assert isinstance(model[0].weight, nn.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)
    model(X)
    watch.step()
    assert watch.verdicts[0].holds is not None


class TestCompiledInTrainingMode:
    @pytest.fixture(autouse=True)
    def fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.parametrize("first", ["watch", "compile"])
    def test_before_the_first_run_hooks_work(self, net, first):
        compiled = torch.compile(net, backend="eager") if first == "compile" else net
        options = {
            "mode": "training",
            "conditions": [Mean()],
            "capture_every": 1,
            "every": 2,
            "samples": 16,
            "strict": True,
        }
        with ch.watch(compiled, **options) as watch:
            if first == "watch":
                compiled = torch.compile(net, backend="eager")
            steps(compiled, 4, watch, targets=True)
        assert {row.status for row in watch.history} <= {"holds", "fails"}
        assert len({row.step for row in watch.history}) == 2

    @pytest.mark.filterwarnings("ignore:capture. no layer fired")
    def test_attached_too_late_it_is_named_and_the_training_goes_on(self, net):
        compiled = torch.compile(net, backend="eager")
        steps(compiled, 1)
        with (
            pytest.warns(UserWarning, match="no training pass reached the layers .* compiled and run before"),
            ch.watch(compiled, mode="training", conditions=[Mean()], capture_every=1) as watch,
        ):
            steps(compiled, 3, watch, targets=True)
        assert watch.steps == 3
        assert {row.status for row in watch.history} == {"invalid"}


def test_arguments_that_do_not_go_together_are_refused(net):
    refused = [
        ({}, "needs probe="),
        ({"mode": "training", "probe": (X, Y)}, "leave probe= and ema= out"),
        ({"mode": "training", "ema": net}, "leave probe= and ema= out"),
        ({"mode": "both"}, "expected mode"),
        ({"mode": "training", "at_start": True}, "needs a probe"),
        ({"probe": (X, Y), "samples": 0}, "samples, batch_size and capture_every"),
        ({"probe": (X, Y), "on_change": "save"}, "need save="),
        ({"probe": (X, Y), "save_every": 5}, "need save="),
        ({"probe": (X, Y), "on_change": "stop", "save": "x"}, "on_change 'save' or None"),
        ({"probe": (X, Y), "conditions": []}, "one condition or more"),
        ({"probe": (X, Y), "conditions": ["separability", "separability"]}, "each once"),
        ({"probe": (X, Y), "conditions": "separabilty"}, "did you mean 'separability'"),
        ({"probe": (X, Y), "conditions": {"separability": {"draw": 1}}}, "no option 'draw'"),
        ({"probe": (X, Y), "layers": "nine"}, "no layer 'nine'"),
        ({"probe": (X, Y), "loss": "mae"}, "unknown loss"),
    ]
    for options, message in refused:
        with pytest.raises(UsageError, match=message):
            ch.watch(net, **options)
