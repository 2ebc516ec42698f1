import pytest
import torch
from torch import nn

from connectivity_hooks.errors import UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.features.select import default_layers, feature_layers, select


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8),
        nn.Flatten(), nn.Linear(8, 6), nn.GELU(), nn.Dropout(), nn.Linear(6, 3),
    )  # fmt: skip


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def test_default_is_the_last_activation_of_each_group_but_the_output():
    assert default_layers(convolutional()) == ("2", "5", "8")
    assert default_layers(Functional()) == ("fc1", "fc2")


def test_feature_layers_are_what_enters_the_next_weights():
    assert feature_layers(convolutional()) == ("2", "7:input", "8")
    assert feature_layers(Functional()) == ("fc2:input", "fc3:input")
    net, x = Functional(), torch.randn(3, 4)
    with capture(net, feature_layers(net)) as features:
        net(x)
    assert torch.equal(features["fc2:input"], torch.relu(net.fc1(x)))


def test_names_globs_and_inputs_keep_their_order_without_repeats():
    assert select(convolutional(), ["8", "[01]", "1", "4:input"]) == ("8", "0", "1", "4:input")


def test_an_unknown_layer_is_refused_with_near_matches():
    with pytest.raises(UsageError, match=r"no layer 'fc9' in Functional; did you mean 'fc"):
        select(Functional(), ["fc9"])


def test_a_model_without_layers_asks_for_names():
    with pytest.raises(UsageError, match="name the layers"):
        default_layers(nn.Sequential(nn.Linear(2, 2)))
