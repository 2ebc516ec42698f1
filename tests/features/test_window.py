"""Features of the training's own passes: each test fails without the protection it is about."""

import contextlib
import copy
import gc
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from connectivity_hooks.errors import InputError
from connectivity_hooks.features.capture import Capture
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.window import TARGETS, Window


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


@contextlib.contextmanager
def window(net, layers=("fc1",), samples=100, **options):
    """Give the capture of a window, and the window."""
    store = Window(net, samples=samples, left_out=LeftOut("warn"), **options)
    with Capture(net, layers, store) as features:
        yield features, store


def numbered(start, count):
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].expand(-1, 4).clone()


def test_an_in_place_activation_does_not_change_what_was_caught():
    net, x = Net(), torch.randn(50, 4)
    with window(net) as (features, kept):
        net(x)
        kept.pair(None)
    assert (features["fc1"] < 0).any()
    assert torch.equal(features["fc1"], net.fc1(x))


def test_features_and_targets_stay_paired_in_the_sample():
    net = nn.Sequential(nn.Linear(4, 4))
    nn.init.eye_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    with window(net, ["0"], samples=12) as (features, kept):
        for start in range(0, 100, 10):
            net(numbered(start, 10))
            kept.pair(torch.arange(start, start + 10))
    assert features[TARGETS].shape == (12,)
    assert torch.equal(features["0"][:, 0].long(), features[TARGETS])
    assert kept.rows == 100


def test_feature_maps_are_reduced_when_they_pass():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    x = torch.randn(6, 3, 8, 8)
    with window(net, ["1"]) as (features, kept):
        net(x)
        kept.pair(None)
    assert features["1"].shape == (6, 5)
    torch.testing.assert_close(features["1"], net(x).mean((2, 3)))


def test_autocast_passes_are_averaged_in_float32():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Identity())
    nn.init.ones_(net[0].weight)
    x = torch.ones(2, 1, 40, 40)
    x[:, :, 0, 0] = 257.0  # a sum of 1856 and a mean of 1.16, neither of which bfloat16 can hold
    with window(net, ["1"]) as (features, kept), torch.autocast("cpu", torch.bfloat16):
        net(x)
        kept.pair(None)
    assert features["1"].dtype == torch.float32
    torch.testing.assert_close(features["1"][:, 0], torch.full((2,), (1599 + 256) / 1600))


def test_validation_passes_are_let_by():
    net = Net()
    with window(net) as (features, kept):
        net(torch.zeros(3, 4))
        net.eval()
        net(torch.ones(50, 4))
        net.train()
        kept.pair(torch.zeros(3))
    assert len(features["fc1"]) == 3
    assert kept.rows == 3


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_counts_each_batch_once(reentrant):
    class Checkpointed(Net):
        def forward(self, x):
            return self.fc2(checkpoint(lambda v: self.act(self.fc1(v)), x, use_reentrant=reentrant))

    net = Checkpointed()
    with window(net, ["fc1", "act"]) as (features, kept):
        for _ in range(4):
            net(torch.randn(5, 4, requires_grad=True)).sum().backward()
            kept.pair(torch.arange(5))
    assert features["fc1"].shape == (20, 8)
    assert features[TARGETS].tolist() == [*range(5)] * 4


def test_accumulated_passes_are_paired_with_their_targets():
    net = Net()
    with window(net) as (features, kept):
        net(torch.zeros(3, 4))
        net(torch.ones(2, 4))
        kept.pair([torch.tensor([1, 2, 3]), torch.tensor([4, 5])])
    assert features[TARGETS].tolist() == [1, 2, 3, 4, 5]


def test_targets_of_other_passes_are_refused_and_leave_nothing_behind():
    net = Net()
    with window(net) as (features, kept):
        net(torch.zeros(3, 4))
        with pytest.raises(InputError, match="2 targets for 3 rows that passed"):
            kept.pair(torch.zeros(2))
        net(torch.zeros(4, 4))
        kept.pair(torch.zeros(4))
    assert len(features["fc1"]) == kept.rows == 4


def test_rows_without_targets_are_counted_and_the_targets_given_up():
    net = Net()
    with window(net) as (features, kept):
        for targets in (torch.zeros(2), None, torch.zeros(2)):
            net(torch.zeros(2, 4))
            kept.pair(targets)
    assert kept.unpaired == 2
    assert TARGETS not in features
    assert len(features["fc1"]) == 6


@pytest.mark.parametrize("rows", [1, 0])
def test_last_batches_that_are_small_or_empty_pass(rows):
    net = Net()
    with window(net) as (features, kept):
        for count in (3, rows):
            net(torch.randn(count, 4))
            kept.pair(torch.zeros(count))
    assert len(features["fc1"]) == len(features[TARGETS]) == 3 + rows


def test_passes_that_no_step_follows_are_bounded():
    net = Net()
    with window(net, samples=20) as (features, kept):
        for _ in range(100):
            net(torch.randn(8, 4))
        assert 20 <= kept.waiting < 20 + 8
        kept.pair(torch.arange(800))
    assert len(features["fc1"]) == 20


def test_a_step_larger_than_the_sample_is_paired_from_its_beginning():
    net = nn.Sequential(nn.Linear(4, 4))
    nn.init.eye_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    with window(net, ["0"], samples=5) as (features, kept):
        for start in (0, 4, 8):
            net(numbered(start, 4))
        kept.pair([torch.arange(0, 4), torch.arange(4, 8), torch.arange(8, 12)])
    assert len(features["0"]) == 5
    assert torch.equal(features["0"][:, 0].long(), features[TARGETS])


def test_an_output_spread_over_processes_is_left_out_and_not_gathered():
    class Spread(torch.Tensor):
        def full_tensor(self):
            raise AssertionError("a collective, which the other processes do not take part in")

    class Parallel(nn.Linear):
        def forward(self, x):
            return super().forward(x).as_subclass(Spread)

    net = nn.Sequential(nn.Linear(4, 4), Parallel(4, 4))
    said = pytest.warns(UserWarning, match="1 is left out: its output is a DTensor")
    with window(net, ["0", "1"]) as (features, kept), said:
        net(torch.zeros(2, 4))
    kept.pair(None)
    assert list(features) == ["0"]


def test_a_copy_of_the_model_is_not_listened_to_and_the_model_can_be_pickled():
    net = Net()
    with window(net) as (features, kept):
        copy.deepcopy(net)(torch.zeros(9, 4))
        pickled = pickle.loads(pickle.dumps(net))
        net(torch.zeros(2, 4))
        kept.pair(None)
    assert len(features["fc1"]) == 2
    pickled(torch.zeros(2, 4))


def test_clear_forgets_and_goes_on():
    net = Net()
    with window(net) as (features, kept):
        net(torch.zeros(3, 4))
        kept.pair(torch.zeros(3))
        net(torch.zeros(3, 4))
        kept.clear()
        assert len(features) == 0
        net(torch.zeros(2, 4))
        kept.pair(None)
        assert len(features["fc1"]) == 2


def test_no_graph_is_kept_and_memory_stays_flat():
    net = Net()
    counts = []
    with window(net, samples=30) as (features, kept):
        for step in range(1000):
            net(torch.randn(3, 4)).sum().backward()
            kept.pair(torch.zeros(3))
            if step in (50, 999):
                gc.collect()
                counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert not any(tensor.requires_grad or tensor.grad_fn for tensor in features.values())
    assert counts[1] <= counts[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_neither_hooks_nor_pairing_wait_for_the_device():
    net = Net().cuda()
    x, y = torch.randn(64, 4, device="cuda"), torch.zeros(64, device="cuda")
    with window(net, samples=10) as (_, kept):
        net(x)
        kept.pair(y)
        torch.cuda.set_sync_debug_mode("error")
        try:
            net(x)
            kept.pair(y)
        finally:
            torch.cuda.set_sync_debug_mode("default")
