"""Re-estimated statistics are those of the drawn batches, whatever the order, size and place of the data."""

import copy

import pytest
import torch
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.evaluation.buffers import buffer_notes
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.model_on_path import Corrected, ModelOnPath
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.streamed import StreamedSplit
from connectivity_hooks_corrections.batch_norm import BatchNorm, Options, Reestimation


class Momentary(nn.BatchNorm1d):
    """Uses the statistics that were there before the batch."""

    def forward(self, x):
        before = self.running_mean.clone()
        super().forward(x)
        return (x - before) * self.weight + self.bias


class Activated(nn.BatchNorm1d):
    """A batch norm with an activation, and dropout that stays off."""

    def __init__(self, width):
        super().__init__(width)
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        return self.drop(torch.relu(super().forward(x)))


class Own(nn.Module):
    """A norm of a user's own with running statistics."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))

    def forward(self, x):
        return x - self.running_mean


def data(count=60, width=5):
    """Return inputs sorted by class, each class in another place."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) * 3 // count
    return torch.randn(count, width, generator=generator, dtype=torch.float64) + 4.0 * labels[:, None], labels


def net(norm=nn.BatchNorm1d, width=5):
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(width, 4), norm(4), nn.ReLU(), nn.Linear(4, 4), norm(4), nn.Linear(4, 3))
        .double()
        .eval()
    )


def reference(model, split, batches):
    """Return both norms' cumulative averages by PyTorch's own ``momentum=None`` over the given batches."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
            module.momentum = None
            module.training = True
    with torch.no_grad():
        for rows in batches:
            model(split.inputs[rows])
    return [module.running_mean for module in (model[1], model[4])] + [m.running_var for m in (model[1], model[4])]


def found(model):
    return [m.running_mean for m in (model[1], model[4])] + [m.running_var for m in (model[1], model[4])]


@pytest.mark.parametrize(("batch_size", "batches"), [(20, 3), (16, 4), (7, 9), (2, 30), (1, 30), (1000, 1)])
def test_statistics_are_the_cumulative_average_over_equal_batches_of_at_least_two(batch_size, batches):
    split, model = CachedSplit("train", *data()), net()
    estimation = Reestimation(model, split, batch_size)
    sizes = [len(rows) for rows in estimation.samples.rows]
    assert len(sizes) == batches
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert torch.cat(estimation.samples.rows).sort().values.tolist() == list(range(60))
    expected = reference(model, split, estimation.samples.rows)
    estimation.apply()
    torch.testing.assert_close(found(model), expected, rtol=1e-12, atol=1e-12)
    assert not any(module.training for module in model.modules())
    assert model[1].momentum == 0.1


def test_data_sorted_by_class_gives_the_statistics_of_the_whole():
    x, y = data(600)
    model = net()
    with torch.no_grad():
        hidden = model[0](x)
    Reestimation(model, CachedSplit("train", x, y), 100).apply()
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model[1].running_var, hidden.var(0), rtol=0.05, atol=0)


def test_a_sample_of_sorted_data_is_drawn_from_all_of_it():
    x, y = data(600)
    model = net()
    with torch.no_grad():
        hidden = model[0](x)
    Reestimation(model, CachedSplit("train", x, y), 60, samples=300).apply()
    standard = (hidden.var(0) / 300).sqrt()
    assert ((model[1].running_mean - hidden.mean(0)).abs() < 4 * standard).all()


@pytest.mark.parametrize("count", [2, 3, 5, 17])
def test_tiny_splits_are_measured_and_all_their_samples_used(count):
    split, model = CachedSplit("train", *data(count)), net()
    with torch.no_grad():
        hidden = model[0](split.inputs)
    Reestimation(model, split, 512).apply()
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(model[1].running_var, hidden.var(0))


def test_one_sample_has_no_statistics():
    with pytest.raises(InputError, match="from 1 training sample, expected at least 2"):
        Reestimation(net(), CachedSplit("train", *data(1)), 4)
    Reestimation(nn.Sequential(nn.Linear(5, 3)), CachedSplit("train", *data(1)), 4).apply()


def test_a_split_that_is_streamed_gives_the_statistics_of_one_in_memory():
    x, y = data()
    loader = [(x[i : i + 7], y[i : i + 7]) for i in range(0, 60, 7)]
    one, other = net(), net()
    Reestimation(one, CachedSplit("train", x, y), 16, samples=40).apply()
    Reestimation(other, StreamedSplit("train", loader, x.device, x.dtype), 16, samples=40).apply()
    torch.testing.assert_close(found(one), found(other), rtol=0, atol=0)


def test_the_same_samples_are_drawn_every_time_and_the_global_generator_is_not_asked():
    split, one, other = CachedSplit("train", *data()), net(), net()
    state = torch.get_rng_state()
    for model in (one, other):
        estimation = Reestimation(model, split, 16)
        estimation.apply()
        estimation.apply()
    torch.testing.assert_close(found(one), found(other), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_instance_norm_with_statistics_is_measured():
    x = torch.randn(12, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 2
    model = nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)).double().eval()
    Reestimation(model, CachedSplit("train", x, torch.zeros(12)), 4).apply()
    torch.testing.assert_close(model[0].running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(model[0].running_var, x.var((2, 3)).mean(0))


@pytest.mark.parametrize("norm", [nn.SyncBatchNorm, Activated])
def test_synchronised_and_derived_batch_norms_are_measured_as_batch_norms(norm):
    split, model, plain = CachedSplit("train", *data()), net(norm), net()
    estimation = Reestimation(model, split, 16)
    assert estimation.left == ()
    estimation.apply()
    Reestimation(plain, split, 16).apply()
    torch.testing.assert_close(model[1].running_mean, plain[1].running_mean)
    torch.testing.assert_close(model[1].running_var, plain[1].running_var)
    assert "forward" not in vars(model[1])


def test_a_batch_norm_that_is_called_twice_has_the_average_of_both():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x):
            return self.norm(x) + self.norm(3 * x)

    x, y = data()
    model = Shared().double().eval()
    Reestimation(model, CachedSplit("train", x, y), 60).apply()
    torch.testing.assert_close(model.norm.running_mean, 2 * x.mean(0))
    torch.testing.assert_close(model.norm.running_var, 5 * x.var(0))


def test_a_norm_that_reads_its_running_statistics_in_training_is_left_and_named():
    split, model = CachedSplit("train", *data()), net()
    model[4] = Momentary(4).double().eval()
    model[4].running_mean.fill_(7)
    estimation = Reestimation(model, split, 16)
    assert estimation.left == ("4",)
    estimation.apply()
    assert model[4].running_mean.tolist() == [7] * 4
    assert model[4].training is False
    assert model[1].running_mean.any()


def points(model):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            name: tensor + torch.rand(tensor.shape, generator=generator).to(tensor)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in model.state_dict().items()
        }
        for _ in range(2)
    ]


def test_statistics_that_nothing_re_estimates_are_named():
    model = net()
    model[1], model[4] = Own(4).double(), Momentary(4).double()
    path = Path.from_points(points(model))
    stored, fresh = buffer_notes(model, path), buffer_notes(model, path, left=("4",))
    assert len(stored) == len(fresh) == 1
    assert "between: 1.running_mean;" in stored[0]
    assert "1.running_mean, 4.running_mean, 4.running_var" in fresh[0]
    assert buffer_notes(net(), Path.from_points(points(net()))) == ()


def test_notes_come_with_the_evaluation():
    x, y = data()

    def make():
        model = net()
        model[1] = Own(4).double()
        return model

    task = Task(make, CachedSplit("train", x, y), dtype=torch.float64)
    evaluation = evaluate(Path.from_points(points(make())), task, points=3, refine=0, correct="batch-norm")
    assert any("1.running_mean" in note for note in evaluation.notes)


def test_a_table_that_a_module_keeps_of_its_weights_is_made_anew_at_each_t():
    class Tabled(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.table = nn.Linear(5, 3), {}

        def forward(self, x):
            if "weight" not in self.table:
                self.table["weight"] = self.down.weight * 2
            return nn.functional.linear(x, self.table["weight"], self.down.bias)

    x, y = data()
    task = Task(lambda: Tabled().double(), CachedSplit("train", x, y), dtype=torch.float64)
    ends = points(Tabled().double())
    evaluation = evaluate(Path.from_points(ends), task, points=2, refine=0)
    for weights, measured in zip(ends, evaluation.curves["train"], strict=True):
        outputs = nn.functional.linear(x, 2 * weights["down.weight"], weights["down.bias"])
        assert measured.loss == pytest.approx(float(nn.functional.cross_entropy(outputs, y)), rel=1e-9)


class Named(nn.Module):
    """Takes its inputs by name, and returns a mapping."""

    def __init__(self):
        super().__init__()
        self.body = net()

    def forward(self, x, scale):
        return {"logits": self.body(x * scale), "other": x}


class Counted(CachedSplit):
    """Has as many samples as targets, whatever its inputs are."""

    def __len__(self):
        return len(self.targets())


def test_models_of_named_inputs_are_measured_as_others_are():
    x, _ = data()
    plain, named = net(), Named().eval()
    plain_split, scale = CachedSplit("train", 3 * x, torch.zeros(60)), torch.full((60, 1), 3.0, dtype=x.dtype)
    Reestimation(plain, plain_split, 16).apply()
    named_split = Counted("train", x, torch.zeros(60))
    named_split.inputs = {"x": x, "scale": scale}
    Reestimation(named, named_split, 16).apply()
    torch.testing.assert_close(found(named.body), found(plain))


def test_a_model_that_fails_while_statistics_are_measured_is_one_line_that_says_so():
    class Fails(nn.Module):
        """Takes whole batches alone."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x):
            if len(x) == 15:
                raise RuntimeError("no\nluck")
            return self.norm(x)

    task = Task(Fails, CachedSplit("train", *data()), dtype=torch.float64, batch_size=16)
    path = Path.from_points(points(Fails().double()))
    with pytest.raises(InputError, match=r"^correction batch-norm at t = 0\.5: RuntimeError: no luck$"):
        Corrected(ModelOnPath(path, task), BatchNorm()).go(0.5)


def test_how_long_a_norm_was_trained_stays_true():
    model = net()
    model[1].num_batches_tracked.fill_(77)
    Reestimation(model, CachedSplit("train", *data()), 16).apply()
    assert int(model[1].num_batches_tracked) == 77


def test_the_correction_draws_as_many_samples_as_it_is_told_from_its_seed():
    x, y = data(600)
    task = Task(net, CachedSplit("train", x, y), dtype=torch.float64, batch_size=100)
    path = Path.from_points(points(net()))
    drawn = []
    for seed, samples in ((0, 50), (0, 50), (1, 50), (0, 600)):
        prepared = BatchNorm(Options(samples), seed=seed).prepare(ModelOnPath(path, task))
        drawn.append(torch.cat(list(prepared.samples.batches())))
    assert [len(inputs) for inputs in drawn] == [50, 50, 50, 600]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
