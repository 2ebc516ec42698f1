"""Averages of the weights are compared with the trained weights while a network trains."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from watched_training import Mean, data, network, steps

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError
from connectivity_hooks.watching.averages import AVERAGE, POINTS
from connectivity_hooks.watching.averages_in_words import averages_in_words, connected_since
from connectivity_hooks.watching.history import Row

X, Y = data(400)


def plain():
    """Return a network without batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def detail(watch, name=AVERAGE):
    """Return the details of the last row of an average as they are in the history's file."""
    lines = [json.loads(line) for line in (watch._folder / "history.jsonl").read_text().splitlines()]
    return [line["details"] for line in lines if (line["condition"], line["layer"]) == ("average", name)][-1]


def compared(model, average, folder, probe=(X, Y), **options):
    with ch.watch(model, probe, every=100, averages=average, conditions=[], out=folder, **options) as watch:
        watch.step()
        watch.check()
    return watch


def along(trained, average, t):
    """Return a float64 copy at t of the straight line, made by hand."""
    made = copy.deepcopy(trained).double().eval()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if tensor.is_floating_point():
                a, b = (module.state_dict()[name].double() for module in (trained, average))
                tensor.copy_((1 - t) * a + t * b)
    return made


@pytest.mark.filterwarnings("ignore:watch. average. .*too few samples")
def test_losses_and_norms_are_those_of_the_line_made_by_hand(tmp_path):
    trained, average = plain(), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    watch = compared(trained, average, tmp_path)
    found = detail(watch)
    losses = {}
    for t in (0, 0.25, 0.5, 0.75, 1):
        with torch.no_grad():
            outputs = along(trained, average, t)(X.double())
        losses[t] = float(F.cross_entropy(outputs, Y))
        assert found[f"loss at t = {t:g}"] == pytest.approx(losses[t], rel=1e-5)
        assert found[f"error at t = {t:g}"] == pytest.approx(float((outputs.argmax(1) != Y).double().mean()))
    (row,) = watch.history
    rise = max(losses[t] for t in (0.25, 0.5, 0.75)) - max(losses[0], losses[1])
    assert row.measured == pytest.approx(rise, abs=1e-5)
    vectors = [torch.cat([p.detach().double().flatten() for p in m.parameters()]) for m in (trained, average)]
    assert found["norm_trained"] == pytest.approx(float(vectors[0].norm()), rel=1e-6)
    assert found["norm_average"] == pytest.approx(float(vectors[1].norm()), rel=1e-6)
    assert found["distance"] == pytest.approx(float((vectors[0] - vectors[1]).norm()), rel=1e-6)


def fitted(steps_=300):
    model = plain()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps_):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    return model


def permuted(model):
    """Return the same function with its hidden neurons in another order: far away along the straight line."""
    made, order = copy.deepcopy(model), torch.arange(15, -1, -1)
    with torch.no_grad():
        made[0].weight.copy_(model[0].weight[order])
        made[0].bias.copy_(model[0].bias[order])
        made[2].weight.copy_(model[2].weight[:, order])
    return made


def test_a_barrier_and_a_near_average_are_told_apart_in_row_scalars_and_summary(tmp_path):
    told = {}
    trained = fitted()
    near = copy.deepcopy(trained)
    with torch.no_grad():
        near[0].weight.mul_(1 + 1e-5)
    averages = {"near": near, "far": permuted(trained)}
    watch = compared(trained, averages, tmp_path, log=lambda values, step: told.update(values))
    rows = {row.layer: row for row in watch.history}
    assert (rows["near"].status, rows["far"].status) == ("holds", "fails")
    assert rows["far"].measured > rows["far"].threshold > rows["near"].measured
    assert told["average/far"] == pytest.approx(rows["far"].measured)
    assert (told["average/near/holds"], told["average/far/holds"]) == (1, 0)
    summary = (tmp_path / "summary.txt").read_text()
    assert "The average near is connected to the trained weights from step 1 on, as far as measured: 1 check" in summary
    assert (
        "The average far is not connected to the trained weights at step 1, the last check: the probe loss" in summary
    )
    with torch.no_grad():
        losses = [float(F.cross_entropy(model.double()(X.double()), Y)) for model in (near, trained)]
    assert "At step 1 its loss is {:.4g}, that of the trained weights {:.4g}.".format(*losses) in summary
    assert (tmp_path / "history.csv").read_text().count("average,far,fails") == 1
    assert watch.faults == ()


def test_few_samples_decide_nothing_and_are_no_fault(tmp_path):
    trained = fitted()
    near = copy.deepcopy(trained)
    with torch.no_grad():
        near[0].weight.mul_(1.05)
    with pytest.warns(UserWarning, match="too few samples to tell"):
        watch = compared(trained, near, tmp_path, probe=(X[:12], Y[:12]), strict=True)
    (row,) = watch.history
    assert row.status == "invalid"
    assert row.measured is not None
    assert "is not known: too few samples" in watch.summary()


@pytest.mark.filterwarnings("ignore:watch. average. .*too few samples")
def test_batch_norm_is_named_and_its_statistics_are_measured_anew_where_asked(tmp_path):
    torch.manual_seed(0)
    model = network()
    average = AveragedModel(model)
    steps(model, 30)
    average.update_parameters(model)
    steps(model, 60)
    average.update_parameters(model)
    with pytest.warns(UserWarning, match="Sequential has running statistics of batch norm.*correct='batch-norm'"):
        compared(model, average, tmp_path / "as they are")
    watch = compared(model, average, tmp_path / "anew", correct="batch-norm")
    found = detail(watch)
    assert found["correction"] == "batch-norm"
    for t in (0.0, 0.5, 1.0):
        moved = along(model, average.module, t)
        update_bn([X.double()], moved)
        with torch.no_grad():
            loss = float(F.cross_entropy(moved.eval()(X.double()), Y))
        # one batch of all samples by hand, batches of 256 here: variances differ by the batches' means
        assert found[f"loss at t = {t:g}"] == pytest.approx(loss, rel=0.02)


@pytest.mark.parametrize("correct", [None, "batch-norm"])
@pytest.mark.filterwarnings("ignore:watch. averages=. Sequential has running")
@pytest.mark.filterwarnings("ignore:watch. average. .*too few samples")
def test_the_training_and_its_averages_end_bit_for_bit_the_same(tmp_path, correct):
    ends = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = network()
        ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        handle = None
        if watched:
            asked = {"averages": {"ema": ema}, "correct": correct, "conditions": [Mean()], "at_start": True}
            handle = ch.watch(model, (X, Y), every=10, ema=ema, out=tmp_path, **asked).__enter__()
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        for _ in range(40):
            rows = torch.randint(len(X), (16,))
            optimizer.zero_grad()
            F.cross_entropy(model(X[rows]), Y[rows]).backward()
            optimizer.step()
            ema.update_parameters(model)
            if handle is not None:
                handle.step()
        if handle is not None:
            handle.close()
            found = [(row.step, row.weights) for row in handle.history if row.condition == AVERAGE]
            assert found == [(step, "ema") for step in (10, 20, 30, 40)]  # at the start nothing was averaged
            assert not handle.faults
        ends.append([model.state_dict(), ema.state_dict(), {"rng": torch.get_rng_state()}])
        assert all(module.training for module in (*model.modules(), *ema.modules()))
    for first, second in zip(*ends, strict=True):
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


class Counting(nn.Module):
    """Counts the samples that pass, over all its copies."""

    seen = 0

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 3)

    def forward(self, x):
        type(self).seen += len(x)
        return self.line(x)


def test_a_check_passes_the_probe_as_often_as_is_said(tmp_path):
    big = data(4000)
    model, average = Counting(), Counting()
    with ch.watch(model, big, every=100, averages=average, conditions=[], layers="line", samples=4000) as watch:
        Counting.seen = 0
        watch.check()
        seen = Counting.seen
    assert POINTS * 4000 <= seen <= POINTS * 4000 * 1.25


def test_an_average_that_took_in_nothing_yet_is_passed_over(tmp_path):
    model = plain()
    average = AveragedModel(model)
    with ch.watch(model, (X, Y), every=1, averages=average, conditions=[]) as watch:
        watch.step()
        assert not watch.history
        average.update_parameters(model)
        watch.step()
    assert [(row.step, row.status) for row in watch.history] == [(2, "holds")]
    assert not watch.faults


def test_a_loss_that_is_not_finite_is_said(tmp_path):
    trained, average = plain(), plain()
    with torch.no_grad():
        average[0].weight.fill_(float("nan"))
    with pytest.warns(UserWarning, match="average cannot be measured: the loss is not a finite number"):
        watch = compared(trained, average, tmp_path)
    assert [row.status for row in watch.history] == ["invalid"]


def test_an_average_in_another_type_is_compared_in_the_wider_one(tmp_path):
    trained = fitted()
    watch = compared(trained, copy.deepcopy(trained).double(), tmp_path)
    assert [row.status for row in watch.history] == ["holds"]
    assert detail(watch)["distance"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"averages": {}}, "expected one average or more"),
        ({"averages": {"x": 1}}, "found 'x': int"),
        ({"averages": {"x": nn.Linear(6, 3)}}, "x is no average of Sequential: 0.weight"),
        ({"averages": {"x": nn.Sequential(nn.Linear(6, 8))}}, r"0\.weight: shape \(8, 6\), \(16, 6\) in the model"),
        ({"averages": nn.Linear(6, 3), "probe": None, "mode": "training"}, "averages= needs a probe"),
        ({"correct": "batch-norm"}, "correct= is for the line"),
    ],
)
def test_what_is_no_average_of_the_model_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        ch.watch(plain(), **{"probe": (X, Y), "conditions": [Mean()], **options})


def test_the_model_itself_is_no_average():
    model = plain()
    with pytest.raises(UsageError, match="is the model itself"):
        ch.watch(model, (X, Y), averages={"x": model})


def rows(statuses):
    found = []
    for i, status in enumerate(statuses):
        why = "" if status == "holds" else "why"
        found.append(Row(10 * (i + 1), 0, 1.0, 0.5, "model", AVERAGE, "ema", status, 0.5, 0.1, "loss", why))
    return found


@pytest.mark.parametrize(
    ("statuses", "since", "words"),
    [
        (["holds", "fails", "holds", "holds"], 30, "from step 30 on, as far as measured: 2 checks"),
        (["holds", "invalid", "holds"], 30, "from step 30 on"),
        (["holds", "fails"], None, "is not connected to the trained weights at step 20, the last check: why"),
        (["holds", "invalid"], None, "Whether the average ema is connected"),
    ],
)
def test_connected_from_the_check_after_which_none_saw_a_rise(statuses, since, words):
    assert connected_since(rows(statuses)) == since
    assert words in averages_in_words(rows(statuses))[0]
