"""Each test fails without the protection it is about: clone, identity, pass counting, own generator …"""

import copy
import dataclasses
import gc
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.features.hooks import HAS_REASON


class Net(nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(4, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def hook_count(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_features_are_what_the_layers_put_out():
    net, x = Net(), torch.randn(5, 4)
    with capture(net, ["fc1", "act", "fc2:input"]) as features:
        net(x)
    assert torch.equal(features["fc1"], net.fc1(x))
    assert torch.equal(features["act"], net.fc1(x).relu())
    assert torch.equal(features["fc2:input"], features["act"])
    assert list(features) == ["fc1", "act", "fc2:input"]


def test_an_in_place_relu_does_not_change_what_was_captured():
    net, x = Net(inplace=True), torch.randn(50, 4)
    with capture(net, "fc1") as features:
        net(x)
    assert (features["fc1"] < 0).any()
    assert torch.equal(features["fc1"], net.fc1(x))


def test_an_in_place_sum_does_not_change_what_was_captured():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Linear(4, 4)

        def forward(self, x):
            y = self.branch(x)
            y += x
            return y

    net, x = Residual(), torch.randn(5, 4)
    with capture(net, "branch") as features:
        net(x)
    assert torch.equal(features["branch"], net.branch(x))


def test_no_graph_is_kept_and_memory_stays_flat():
    net = Net()
    counts = []
    with capture(net) as features:
        for step in range(1000):
            net(torch.randn(3, 4)).sum().backward()
            if step in (10, 999):
                gc.collect()
                counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert not any(tensor.requires_grad or tensor.grad_fn for tensor in features.values())
    assert counts[1] <= counts[0]


def train(hooks):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(True), nn.Dropout(0.3), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    handle = capture(net, every=3, samples=20) if hooks else None
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.randn(8, 4)), torch.randint(0, 3, (8,))).backward()
        optimizer.step()
    if handle:
        assert len(handle)
    return net.state_dict()


def test_training_ends_bit_identical_with_and_without_hooks():
    plain, hooked = train(False), train(True)
    assert all(torch.equal(plain[name], hooked[name]) for name in plain)


def test_global_random_state_is_not_touched():
    net, x = Net(), torch.randn(5, 4)
    state = torch.get_rng_state()
    with capture(net, samples=3):
        net(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_removal_takes_every_hook_off_and_keeps_the_features():
    net = Net()
    features = capture(net, ["fc1", "fc2:input"])
    net(torch.randn(2, 4))
    assert hook_count(net) > 0
    features.remove()
    features.remove()
    assert hook_count(net) == 0
    assert features["fc1"].shape == (2, 8)


def test_an_exception_in_the_block_removes_the_hooks():
    net = Net()
    with pytest.raises(RuntimeError, match="user"), capture(net):
        raise RuntimeError("user")
    assert hook_count(net) == 0


def test_a_failed_pass_leaves_no_half_of_itself():
    net = Net()
    with capture(net, ["fc1", "fc2"]) as features:
        net(torch.ones(2, 4))
        with pytest.raises(RuntimeError):
            net(torch.ones(2, 5))
        assert features["fc1"].shape == (2, 8)
        net(torch.zeros(3, 4))
        assert features["fc1"].shape == (3, 8)


def test_every_counts_passes_of_the_whole_model():
    net = Net()
    with capture(net, every=3) as features:
        seen = []
        for value in range(7):
            net(torch.full((1, 4), float(value)))
            seen.append(features["act"].clone())
    changed = [i for i in range(1, 7) if not torch.equal(seen[i], seen[i - 1])]
    assert changed == [3, 6]


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_counts_each_batch_once(reentrant):
    class Checkpointed(Net):
        def forward(self, x):
            return self.fc2(checkpoint(lambda v: self.act(self.fc1(v)), x, use_reentrant=reentrant))

    net = Checkpointed()
    with capture(net, ["fc1", "act"], samples=100) as features:
        for _ in range(4):
            net(torch.randn(5, 4, requires_grad=True)).sum().backward()
    assert features["fc1"].shape == (20, 8)
    assert features.indices.tolist() == list(range(20))


def test_a_copy_of_the_model_is_not_listened_to():
    net = Net()
    with capture(net) as features:
        net(torch.ones(2, 4))
        average = copy.deepcopy(net)
        average(torch.zeros(9, 4))
        assert features["act"].shape == (2, 8)


def test_a_hooked_model_can_be_pickled_whole():
    net = Net()
    with capture(net):
        net(torch.ones(2, 4))
        copied = pickle.loads(pickle.dumps(net))
        buffer = io.BytesIO()
        torch.save(net, buffer)
    assert torch.equal(copied(torch.ones(1, 4)), net(torch.ones(1, 4)))


def test_a_module_called_twice_has_an_entry_for_each_call():
    class Shared(Net):
        def forward(self, x):
            return self.fc2(self.act(self.act(self.fc1(x)) - 1))

    net = Shared()
    with capture(net, "act") as features:
        net(torch.randn(2, 4))
    assert list(features) == ["act[0]", "act[1]"]
    with pytest.raises(KeyError, match=r"2 times .* act\[0\], act\[1\]"):
        features["act"]


def test_attention_projection_never_fires_and_the_error_says_what_to_capture():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    net = Attending()
    with capture(net, ["attention", "attention.out_proj"]) as features:
        net(torch.randn(2, 5, 8))
    assert features["attention"].shape == (2, 5, 8)
    assert features.never_fired == ("attention.out_proj",)
    with pytest.raises(KeyError, match=r"never fired: .* capture attention"):
        features["attention.out_proj"]


def test_a_bypassed_forward_is_said_to_have_never_fired():
    class Bypass(Net):
        def forward(self, x):
            return self.fc2(self.act(nn.functional.linear(x, self.fc1.weight)))

    net = Bypass()
    with capture(net, ["fc1", "act"]) as features:
        net(torch.randn(2, 4))
    assert features.never_fired == ("fc1",)
    with pytest.raises(KeyError, match="never fired"):
        features["fc1"]


def test_encoder_layers_are_captured_in_evaluation_mode():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    with capture(encoder, ["layers.0", "layers.1"]) as features, torch.no_grad():
        encoder(torch.randn(3, 5, 8))
    assert [features[name].shape for name in features] == [(3, 5, 8)] * 2


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor


@pytest.mark.parametrize(
    "wrap", [lambda y: (y, None), lambda y: {"out": y, "n": 1}, lambda y: Output(y, y.sum()), lambda y: [y]]
)
def test_the_one_tensor_in_a_structured_output_is_found(wrap):
    class Inner(nn.Linear):
        def forward(self, x):
            return wrap(super().forward(x))

    net = nn.Sequential(Inner(4, 3))
    with capture(net, "0") as features:
        net(torch.ones(2, 4))
    assert features["0"].shape == (2, 3)


def two_tensors():
    class Twins(nn.Module):
        def forward(self, x):
            return x, x + 1

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.twins, self.fc = Twins(), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.twins(x)[0])

    return Outer()


def test_an_ambiguous_output_is_left_out_with_one_warning_and_the_training_goes_on():
    net = two_tensors()
    with capture(net, ["twins", "fc"]) as features:
        with pytest.warns(UserWarning, match="twins is left out: Twins gives 2 tensors"):
            net(torch.ones(2, 4))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net(torch.ones(2, 4))
        assert features["fc"].shape == (2, 2)
        assert "2 tensors" in features.problems["twins"]


def test_strict_raises_what_goes_wrong_in_a_hook():
    net = two_tensors()
    with pytest.raises(InputError, match="2 tensors"), capture(net, "twins", strict=True):
        net(torch.ones(2, 4))
    assert hook_count(net) == 0


def test_inputs_given_by_name_are_captured():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(hidden=x)

    class Inner(nn.Module):
        def forward(self, hidden):
            return hidden + 1

    net = Named()
    with capture(net, ["inner", "inner:input"]) as features:
        net(x=torch.ones(2, 4))
    assert torch.equal(features["inner"], features["inner:input"] + 1)


def test_autocast_features_keep_the_type_they_were_computed_in():
    net = Net()
    with capture(net, "fc1") as features, torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 4))
    assert features["fc1"].dtype == torch.bfloat16


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_small_and_empty_batches_pass(rows):
    net = Net()
    with capture(net) as features:
        net(torch.randn(rows, 4))
    assert features["act"].shape == (rows, 8)


def test_a_sample_is_capped_aligned_over_layers_and_knows_its_positions():
    net = Net()
    stream = torch.randn(100, 4)
    with capture(net, ["fc1", "fc1:input"], samples=12, seed=3) as features:
        for batch in stream.split(7):
            net(batch)
    assert torch.equal(features["fc1:input"], stream[features.indices])
    torch.testing.assert_close(features["fc1"], net.fc1(stream[features.indices]))
    assert len(features.indices) == 12


def test_a_sample_is_uniform_over_the_stream():
    net = nn.Sequential(nn.Linear(1, 1))
    counts = torch.zeros(40)
    for seed in range(400):
        with capture(net, "0", samples=10, seed=seed) as features:
            for batch in torch.zeros(40, 1).split(9):
                net(batch)
        counts[features.indices] += 1
    assert counts.sum() == 4000
    assert (counts - 100).abs().max() < 5 * (100 * 0.75) ** 0.5


@pytest.mark.parametrize("arguments", [{"every": 0}, {"samples": 0}])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(UsageError, match="expected every"):
        capture(Net(), **arguments)


class TestCompiled:
    @pytest.fixture(autouse=True)
    def fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.parametrize("first", ["hooks", "compile"])
    def test_hooks_fire_when_they_come_before_the_first_run(self, first):
        net = Net()
        if first == "hooks":
            features = capture(net, "act")
            compiled = torch.compile(net, backend="eager")
        else:
            compiled = torch.compile(net, backend="eager")
            features = capture(compiled, "act")
        for _ in range(20):
            compiled(torch.randn(2, 4))
        assert features["act"].shape == (2, 8)
        assert features.passes == 20

    def test_hooks_that_come_too_late_are_never_a_silent_zero(self):
        compiled = torch.compile(Net(), backend="eager")
        compiled(torch.randn(2, 4))
        with capture(compiled, "act") as features:
            with pytest.warns(UserWarning, match="ignores hooks that come after"):
                compiled(torch.randn(2, 4))
            with pytest.raises(KeyError, match="never fired"):
                features["act"]

    def test_a_hook_does_not_make_the_model_compile_again_and_again(self):
        net = Net()
        with capture(net, every=2):
            compiled = torch.compile(net, backend="eager")
            for _ in range(30):
                compiled(torch.randn(2, 4))
            torch._dynamo.config.error_on_recompile = True
            try:
                compiled(torch.randn(2, 4))
            finally:
                torch._dynamo.config.error_on_recompile = False

    @pytest.mark.skipif(not HAS_REASON, reason="needs PyTorch 2.7")
    def test_fullgraph_ends_with_a_message_that_says_what_to_do(self):
        net = Net()
        with capture(net), pytest.raises(Exception, match=r"compile without fullgraph=True, or capture from"):
            torch.compile(net, backend="eager", fullgraph=True)(torch.randn(2, 4))


def test_data_parallel_names_are_the_models_own():
    net = Net()
    with capture(nn.DataParallel(net), "act") as features, warnings.catch_warnings():
        net(torch.randn(2, 4))
    assert list(features) == ["act"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_hooks_do_not_wait_for_the_device():
    net = Net().cuda()
    x = torch.randn(64, 4, device="cuda")
    with capture(net, samples=10):
        net(x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            with capture(net):
                net(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
