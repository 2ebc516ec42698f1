"""Threads: figures that do not depend on how many there are, a trial, and settings that come back."""

import threading
from dataclasses import replace

import pytest
import torch
from small_networks import certified, mlp, trained, vector_task
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.running import Forward
from connectivity_hooks.parallel import SideBySide, fastest, is_small, is_undivided, most, undivided
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads on any machine, and its own number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batches(count=7, samples=5):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(samples, 4, generator=generator), torch.full((samples,), i)) for i in range(count)]


def outputs(model, given):
    with SideBySide(model.eval(), given[0][0]) as side_by_side:
        return side_by_side.count, list(side_by_side.outputs(given))


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, left, right, sign):
        return {"sum": self.left(left) + sign * self.right(right), "inputs": left}


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_batches_of_several_inputs_are_run_side_by_side(form):
    model = Both().eval()
    given = [((x, x + 1, -1) if form == "tuple" else {"left": x, "right": x + 1, "sign": -1}, y) for x, y in batches()]
    with ch.threads(2), SideBySide(model, given[0][0], Forward("sum")) as side_by_side:
        assert side_by_side.count == 2
        found = list(side_by_side.outputs(given))
    for (x, y), (outputs, targets) in zip(batches(), found, strict=True):
        assert torch.allclose(outputs, model.left(x) - model.right(x + 1))
        assert torch.equal(targets, y)


def test_no_figure_of_an_evaluation_depends_on_the_threads():
    # of such shapes PyTorch's own products have other last digits with two threads than with one
    make = lambda: nn.Sequential(nn.Linear(3000, 13), nn.ReLU(), nn.Linear(13, 3))  # noqa: E731
    x = torch.randn(388, 3000, generator=torch.Generator().manual_seed(0))
    task = replace(vector_task(make), train=CachedSplit("train", x, torch.arange(388) % 3), test=None, batch_size=97)
    path = Path.from_points([make().state_dict(), make().state_dict()])
    found = [ch.evaluate(path, task, points=4, refine=1)]
    for count in (1, 2, 3):
        with ch.threads(count):
            found.append(ch.evaluate(path, task, points=4, refine=1))
            assert found[-1].threads == count
    assert found[0].threads in (1, 2)
    assert all(one.curves == found[0].curves and one.length == found[0].length for one in found)


def test_a_certified_path_does_not_depend_on_the_threads():
    task = vector_task(lambda: mlp(24, 25))
    ends = [trained(task, seed, steps=40) for seed in (1, 2)]
    paths = [certified(effort="quick").build(*ends, task)]
    for count in (1, 3):
        with ch.threads(count):
            paths.append(certified(effort="quick").build(*ends, task))
    for path in paths[1:]:
        assert all(
            tensor.equal(other[name])
            for point, other in zip(path.points(), paths[0].points(), strict=True)
            for name, tensor in point.items()
        )


def test_batches_are_in_work_side_by_side():
    meeting = threading.Barrier(2)

    class Waiting(nn.Linear):
        def forward(self, x):
            if len(x) > 2:
                meeting.wait(timeout=60)  # nobody comes where one batch follows the other
            return super().forward(x)

    with ch.threads(2):
        count, found = outputs(Waiting(4, 3), batches(6))
    assert count == 2
    assert [int(targets[0]) for _, targets in found] == list(range(6))


def test_weights_written_between_two_passes_are_those_of_every_copy():
    class Aliased(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.beside = [self.weight.detach()]  # a tensor that is no parameter, over the same memory

        def forward(self, x):
            return super().forward(x) + x @ self.beside[0].T

    model, given = Aliased().eval(), batches()
    with ch.threads(3), SideBySide(model, given[0][0]) as side_by_side:
        list(side_by_side.outputs(given))
        with torch.no_grad():
            model.weight.fill_(2.0)
            model.bias.zero_()
        for (inputs, _), (found, _) in zip(given, side_by_side.outputs(given), strict=True):
            torch.testing.assert_close(found, 4 * inputs.sum(1, keepdim=True).expand(-1, 3))


def test_what_a_forward_pass_keeps_for_itself_is_not_mixed():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.skips = nn.ModuleList(nn.Linear(4, 4) for _ in range(8)), []

        def forward(self, x):
            self.skips.append(x)
            for layer in self.layers:
                x = layer(x)
            return x + self.skips.pop()

    model, given = Skipping().eval(), batches(60)
    with ch.threads(3):
        _, found = outputs(model, given)
    with torch.no_grad(), undivided():
        assert all(found[i][0].equal(model(inputs)) for i, (inputs, _) in enumerate(given))


def random_outputs():
    return nn.Sequential(nn.Linear(4, 3), Noise())


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn(x.shape)


class Alone(nn.Linear):
    def __deepcopy__(self, memo):
        raise TypeError("no copies")


class OwnWeights(nn.Linear):
    def __deepcopy__(self, memo):
        return OwnWeights(4, 3)


@pytest.mark.parametrize("make", [random_outputs, lambda: Alone(4, 3), lambda: OwnWeights(4, 3)])
def test_a_module_whose_copies_are_not_what_it_is_runs_alone(make):
    state = torch.get_rng_state()
    with ch.threads(3):
        count, found = outputs(make(), batches())
    assert count == 1
    assert len(found) == 7
    torch.set_rng_state(state)


def test_a_fault_of_the_module_comes_out_and_settings_come_back():
    class Failing(nn.Linear):
        def forward(self, x):
            if len(x) == 3:
                raise ValueError("this batch")
            return super().forward(x)

    given = [*batches(4), *batches(1, samples=3)]
    with pytest.raises(InputError, match=r"\(3, 4\): ValueError: this batch"):
        outputs(Failing(4, 3), given)
    assert torch.get_num_threads() == 2
    assert not is_undivided()


def test_threads_are_set_for_the_block_alone():
    with ch.threads(3):
        assert torch.get_num_threads() == most() == 3
        with undivided():
            assert (torch.get_num_threads(), most()) == (1, 3)
        with ch.threads(None):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == most() == 2
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [2]
    with pytest.raises(UsageError, match="1 or more, found 0"), ch.threads(0):
        pass


def test_large_operations_are_left_to_pytorch():
    small, large = nn.Linear(4, 3), nn.Conv2d(3, 64, 3)
    assert is_small(small, torch.randn(2, 4), 512)
    assert not is_small(small, torch.randn(2, 4), 10**9)
    assert not is_small(large, torch.randn(2, 3, 64, 64), 4096)
    assert not is_small(nn.ReLU(), torch.randn(2, 4), 512)  # nothing that could be counted
    assert not is_small(small, torch.randn(2, 5), 512)  # fails


@pytest.mark.parametrize(
    ("seconds", "best"),
    [({1: 1.0, 2: 0.5, 4: 0.25}, 4), ({1: 1.0, 2: 0.95, 4: 1.5}, 1), ({1: 1.0, 2: 0.5, 4: 0.49}, 2), ({1: 1.0}, 1)],
)
def test_more_threads_are_chosen_where_they_are_faster_by_more_than_noise(seconds, best):
    assert fastest(seconds.__getitem__, list(seconds)) == best
