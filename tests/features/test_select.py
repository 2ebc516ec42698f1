import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from connectivity_hooks.errors import UsageError
from connectivity_hooks.features import capture
from connectivity_hooks.features.select import default_layers, feature_layers, reachable, select


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


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(9, 8), nn.Embedding(4, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.heads = nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 3)])

    def forward(self, x):
        hidden = self.layer(self.tokens(x) + self.positions(torch.arange(x.shape[1])))
        return torch.cat([head(hidden.mean(1)) for head in self.heads], 1)


@pytest.mark.parametrize("proposed", [default_layers, feature_layers])
def test_every_layer_that_is_proposed_for_an_encoder_fires(proposed):
    model = Encoder().eval()
    layers = proposed(model)
    assert not any("out_proj" in layer for layer in layers)
    with torch.no_grad(), capture(model, layers, strict=True) as features:
        model(torch.randint(9, (3, 4)))
    assert not features.never_fired
    assert set(feature_layers(model)) == {
        *("layer.self_attn:input", "layer.linear1:input", "layer.linear2:input"),
        *("heads.0:input", "heads.1:input"),
    }


def test_numbers_before_an_embedding_are_no_features():
    beside = nn.Sequential(nn.Linear(4, 5), nn.Embedding(3, 5), nn.Linear(5, 5), nn.Linear(5, 2))
    assert feature_layers(beside) == ("0", "2:input", "3:input")


def test_what_no_pass_can_reach_is_not_proposed():
    model = Encoder()
    proposals = ["", ":input", "tokens:input", "layer.self_attn.out_proj", "layer.self_attn.out_proj:input", "layer"]
    assert reachable(model, [*proposals, "heads", "heads:input"]) == (
        *("layer", "heads.1", "heads.0:input", "heads.1:input"),
    )


def test_single_calls_may_be_named_where_they_mean_something():
    net = convolutional()
    assert select(net, ["2[1]", "7:input[0]"], calls=True) == ("2[1]", "7:input[0]")
    for layers, calls in ((["2[1]"], False), (["99[1]"], True)):
        with pytest.raises(UsageError, match="no layer"):
            select(net, layers, calls=calls)


def test_weights_that_are_computed_from_others_are_weights():
    """As WaveNets and discriminators have them."""
    plain, computed = convolutional(), convolutional()
    for name in ("0", "4", "7"):
        weight_norm(computed.get_submodule(name))
    spectral_norm(computed[10])
    assert default_layers(computed) == default_layers(plain)
    assert feature_layers(computed) == feature_layers(plain)
    with capture(computed, feature_layers(computed), strict=True) as features:
        computed.eval()(torch.randn(2, 1, 8, 8))
    assert {name: feature.shape[1] for name, feature in features.items()} == {"2": 4, "7:input": 8, "8": 6}
