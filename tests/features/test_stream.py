import torch
from torch import nn

from connectivity_hooks.features import stream


def make_net():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


def test_streaming_gives_each_batch_with_its_features_in_evaluation_mode():
    net, x, y = make_net(), torch.randn(10, 4), torch.arange(10)
    net[1].eval()
    found = list(stream(net, zip(x.split(4), y.split(4), strict=True), ["2"]))
    assert [len(features["2"]) for features, _ in found] == [4, 4, 2]
    assert torch.equal(torch.cat([batch[1] for _, batch in found]), y)
    torch.testing.assert_close(torch.cat([features["2"] for features, _ in found]), net[0](x).relu())
    assert [module.training for module in net] == [True, False, True, True]


def test_an_iteration_that_ends_early_restores_mode_and_hooks():
    net = make_net()
    iterator = stream(net, torch.randn(10, 4).split(2))
    next(iterator)
    iterator.close()
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_arguments_by_name_or_in_a_tuple_are_passed_on():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, left, right):
            return self.fc2(self.fc1(left + right))

    left, right = torch.randn(2, 4), torch.randn(2, 4)
    net = Two()
    ((by_name, _),) = stream(net, [({"left": left, "right": right}, None)], ["fc1"])
    ((in_order, _),) = stream(net, [((left, right), None)], ["fc1"])
    assert torch.equal(by_name["fc1"], in_order["fc1"])
