"""What hooks tell, and what a store makes of it; each part alone."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features import Capture, capture
from connectivity_hooks.features.hooks import Detached, Listener, attached
from connectivity_hooks.features.left_out import LeftOut
from connectivity_hooks.features.noting import noting_capture
from connectivity_hooks.features.store import LastPass, Store


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x, scale=1.0):
        return self.fc2(self.act(self.fc1(x))) * scale


class Told(Listener):
    """Notes what it is told."""

    def __init__(self):
        self.active = True
        self.told = []

    def begin(self, given, named):
        self.told.append(("begin", len(given) + len(named)))

    def caught(self, layer, module, value):
        self.told.append((layer, type(module).__name__))

    def end(self, *, completed):
        self.told.append(("end", completed))


def listened(net):
    told = Told()
    layers = {"fc1": net.fc1, "fc2:input": net.fc2}
    return told, attached(told, net, layers)


def test_a_listener_is_told_where_a_pass_begins_what_passes_and_how_it_ends():
    net = Net()
    told, handles = listened(net)
    net(torch.zeros(2, 4), scale=2.0)
    with pytest.raises(RuntimeError):
        net(torch.zeros(2, 5))
    for handle in handles:
        handle.remove()
    net(torch.zeros(2, 4))
    whole = [("begin", 2), ("fc1", "Linear"), ("fc2:input", "Linear"), ("end", True)]
    assert told.told == [*whole, ("begin", 1), ("end", False)]


def test_copies_tell_nothing_and_a_pickled_model_leaves_its_listener_behind():
    net = Net()
    told, _ = listened(net)
    copy.deepcopy(net)(torch.zeros(2, 4))
    pickled = pickle.loads(pickle.dumps(net))
    pickled(torch.zeros(2, 4))
    assert not told.told
    hook = next(iter(pickled.fc1._forward_hooks.values()))
    assert type(hook.listener) is Detached


class Norms(Store):
    """A stranger's store: the norm of what passed last."""

    def taken(self, layer, module, tensor):
        if layer == "fc2":
            raise InputError("it is not wanted")
        return tensor.norm()

    def keep(self, passed):
        self.features.update(passed.caught)


@pytest.mark.filterwarnings("ignore:capture")
def test_a_store_of_ones_own_decides_what_is_held_and_what_is_left_out():
    net, x = Net(), torch.randn(5, 4)
    with Capture(net, ["fc1", "fc2"], Norms(LeftOut("warn"))) as features:
        net(x)
    assert torch.equal(features["fc1"], net.fc1(x).norm())
    assert features.problems == {"fc2": "it is not wanted"}
    with pytest.raises(UsageError, match="samples="):
        features.indices  # noqa: B018


class Strange(nn.Module):
    """Gives a tensor when called first in a pass, and none when called again."""

    def forward(self, x, again=False):
        return None if again else x


class Calling(nn.Module):
    def __init__(self):
        super().__init__()
        self.strange, self.fc = Strange(), nn.Linear(4, 2)

    def forward(self, x):
        first = self.strange(x)
        self.strange(x, again=True)
        return self.fc(first)


@pytest.mark.filterwarnings("ignore:capture")
@pytest.mark.parametrize("samples", [None, 6])
def test_a_layer_that_is_left_out_at_a_later_call_leaves_none_of_the_pass(samples):
    model = Calling()
    with capture(model, ["strange", "fc"], samples=samples) as features:
        model(torch.randn(3, 4))
        model(torch.randn(3, 4))
    assert list(features) == ["fc"]
    assert "strange" in features.problems


def test_faults_are_noted_without_a_word_where_layers_are_answered_for_one_by_one(recwarn):
    model = Calling()
    with noting_capture(model, ["strange", "fc"]) as features:
        model(torch.randn(3, 4))
    assert not recwarn
    assert list(features) == ["fc"]
    assert features.why_not("strange") == features.problems["strange"]
    assert features.why_not("nothing").startswith("is not captured")


def test_what_is_left_out_is_said_once_and_with_a_layer_all_its_calls():
    left_out = LeftOut("warn")
    with pytest.warns(UserWarning, match="act is left out: no"):
        left_out.add("act[1]", InputError("no"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left_out.add("act[0]", InputError("another"))
    assert left_out.problems == {"act": "no"}
    assert "act" in left_out
    assert "act[7]" in left_out
    with pytest.raises(ValueError, match="no"):
        LeftOut("raise").add("act", ValueError("no"))


def test_the_last_pass_is_held_whole_and_by_itself():
    net = Net()
    store = LastPass(LeftOut("raise"))
    with Capture(net, "act", store, every=2) as features:
        for rows in (2, 3, 4):
            net(torch.randn(rows, 4))
    assert len(features["act"]) == 4
    assert (features.passes, features.seconds > 0) == (3, True)
