"""Ensembles along a path, against softmax averages, bins and temperatures computed by hand in float64."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks_averaging.ensemble import sweep
from connectivity_hooks_averaging.ensemble.ensemble import ensemble


def net(norm=False):
    return nn.Sequential(nn.Linear(4, 6), *([nn.BatchNorm1d(6)] if norm else []), nn.Tanh(), nn.Linear(6, 3))


def task_of(kind="classes", **how):
    loss = {"classes": "cross-entropy", "labels": "bce", "numbers": "mse"}[kind]
    return Task(how.pop("factory", net), *data(kind), loss=LOSSES[loss], batch_size=32, **how)


def weights(seed, norm=False):
    """Return a network near one that all seeds share, which `data` is made by."""

    def drawn(number):
        torch.manual_seed(number)
        return net(norm).state_dict()

    with torch.random.fork_rng():
        shared, own = drawn(99), drawn(seed)
    return {name: 3 * w + own[name] if w.is_floating_point() else w for name, w in shared.items()}


def data(kind="classes", seed=0, count=240):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    model = net()
    model.load_state_dict(weights(98))
    with torch.no_grad():
        noisy = model(x) + 2 * torch.randn(count, 3, generator=generator)
    y = {"classes": noisy.argmax(1), "labels": (noisy > 0).float(), "numbers": noisy}[kind]
    return CachedSplit("train", x[:160], y[:160]), CachedSplit("test", x[160:], y[160:])


@pytest.fixture
def path():
    return ch.Path.from_points([weights(seed) for seed in (0, 1, 2)])


def outputs(state, split, factory=net):
    model = factory().double().eval()
    model.load_state_dict(state)
    inputs, targets = next(iter(split.batches(10_000)))
    with torch.no_grad():
        return model(inputs.double()).numpy(), targets.numpy()


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(p, y, bins=15):
    """Return accuracy, log-likelihood and ECE of probabilities, bin by bin."""
    sure, right = p.max(1), p.argmax(1) == y
    ece = 0.0
    for low in range(bins):
        inside = (sure > low / bins) & (sure <= (low + 1) / bins)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return right.mean(), np.log(p[np.arange(len(y)), y]).mean(), ece


def tempered(p, temperature):
    return softmax(np.log(p) / temperature)


def best(p, y):
    def loss(log):
        return -np.log(tempered(p, np.exp(log))[np.arange(len(y)), y]).mean()

    return np.exp(minimize_scalar(loss, bounds=(-6, 8), method="bounded", options={"xatol": 1e-11}).x)


def agree(row, p, y, held, held_y):
    for found, expected in zip(
        (row.plain["accuracy"], row.plain["log_likelihood"], row.plain["ece"]), by_hand(p, y), strict=True
    ):
        assert found == pytest.approx(expected, abs=2e-6)
    assert row.temperature == pytest.approx(best(held, held_y), rel=1e-4)
    _, likelihood, ece = by_hand(tempered(p, row.temperature), y)
    assert row.tempered["log_likelihood"] == pytest.approx(likelihood, abs=1e-5)
    assert row.tempered["ece"] == pytest.approx(ece, abs=1e-5)


@pytest.mark.parametrize("bytes_", [sweep.BYTES, 1])  # all batches at a time, and one by one
def test_every_row_is_what_float64_gives(path, tmp_path, monkeypatch, bytes_):
    monkeypatch.setattr(sweep, "BYTES", bytes_)
    files = []
    for seed in (5, 6):
        model = net()
        model.load_state_dict(weights(seed))
        files.append(tmp_path / f"c{seed}.safetensors")
        ch.save(model, files[-1])
    task = task_of()
    found = ensemble(path, task, points=4, beside=files, hold_out=0.3, seed=3)
    held, test = task.train.sample(48, 3), task.test
    states = {f"p{i}": path(t) for i, t in enumerate(found.ts)}
    mean = {name: sum(path(t)[name].double() for t in found.ts) / 4 for name in path.start}
    states |= {"mean of weights": mean, "c5": weights(5), "c6": weights(6)}
    p, h = ({name: softmax(outputs(w, split)[0]) for name, w in states.items()} for split in (test, held))
    (_, y), (_, hy) = outputs(mean, test), outputs(mean, held)
    for name, t in zip(("p0", "p1", "p2", "p3"), found.ts, strict=True):
        (row,) = [row for row in found.rows if row.t == t]
        agree(row, p[name], y, h[name], hy)
    groups = {
        "ensemble of 4 points": ["p0", "p1", "p2", "p3"],
        "ensemble of A and B": ["p0", "p3"],
        "ensemble of 2 beside": ["c5", "c6"],
    }
    for name in ("mean of weights", "c5", "c6"):
        agree(found[name], p[name], y, h[name], hy)
    for name, names in groups.items():
        both = [np.mean([of[n] for n in names], 0) for of in (p, h)]
        agree(found[name], both[0], y, both[1], hy)
        pairs = list(itertools.permutations(names, 2))
        apart = np.mean([(p[a].argmax(1) != p[b].argmax(1)).mean() for a, b in pairs])
        kl = np.mean([(p[a] * np.log(p[a] / p[b])).sum(1).mean() for a, b in pairs])
        assert found[name].diversity == pytest.approx({"disagreement": apart, "kl": kl}, abs=1e-5)
    assert {row.count for row in found.rows} == {80}


def test_points_are_evenly_spaced_by_length(path):
    lengths = lambda ts: [  # noqa: E731
        float(sum((path(b)[n].double() - path(a)[n].double()).square().sum() for n in path.start) ** 0.5)
        for a, b in itertools.pairwise(ts)
    ]
    middle = sum(lengths([0.0, 0.5, 1.0])) / 2
    found = ensemble(path, task_of(), points=3)
    a, b = found.ts[0], found.ts[1]
    stops = [a, *(t for t in (0.5,) if a < t < b), b]
    assert sum(lengths(stops)) == pytest.approx(middle, rel=1e-6)
    assert found.ts[0] == 0
    assert found.ts[-1] == 1


def test_those_of_a_curve_are_too():
    bend = ch.Path.from_points([weights(seed) for seed in (0, 1, 2)], basis="bezier")
    ts = ensemble(bend, task_of(), points=3).ts
    fine = np.linspace(0, 1, 2001)
    flat = np.stack([torch.cat([w.flatten() for w in bend(float(t)).values()]).double().numpy() for t in fine])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(flat, axis=0), axis=1))])
    assert ts[1] == pytest.approx(np.interp(along[-1] / 2, along, fine), abs=1e-4)


def test_two_points_are_the_two_ends(path):
    found = ensemble(path, task_of(), points=2)
    assert found.groups == {"ensemble of A and B": ("A", "B")}
    assert found.whole.name == "ensemble of A and B"


def test_tokens_count_each_and_ignored_ones_do_not():
    from language_models import WORDS, of_tokens

    task = of_tokens()
    generator = torch.Generator().manual_seed(0)
    tables = [2 * torch.randn(WORDS, WORDS, generator=generator) for _ in range(2)]
    found = ensemble(ch.Path.from_points([{"words.weight": each} for each in tables]), task, points=2, hold_out=0.5)
    inputs, targets = next(iter(task.test.batches(1000)))
    counted = targets != -100
    p = np.mean([softmax(each.double().numpy()[inputs[counted].long().numpy()]) for each in tables], 0)
    expected = by_hand(p, targets[counted].numpy())
    row = found.whole
    assert row.count == int(counted.sum())
    assert (row.plain["accuracy"], row.plain["log_likelihood"], row.plain["ece"]) == pytest.approx(expected, abs=1e-6)


def test_bce_averages_the_probability_of_each_output(path):
    task = task_of("labels")
    found = ensemble(path, task, points=3)
    p = np.mean([1 / (1 + np.exp(-outputs(path(t), task.test)[0])) for t in found.ts], 0)
    y = outputs(path.start, task.test)[1]
    row = found.whole
    assert row.count == y.size
    assert row.plain["accuracy"] == pytest.approx(((p > 0.5) == (y > 0.5)).mean())
    assert row.plain["log_likelihood"] == pytest.approx((y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), abs=1e-6)


def test_mse_averages_outputs(path, tmp_path):
    task = task_of("numbers")
    found = ensemble(path, task, points=3)
    z = np.stack([outputs(path(t), task.test)[0] for t in found.ts])
    y = outputs(path.start, task.test)[1]
    assert found.whole.plain["loss"] == pytest.approx(((z.mean(0) - y) ** 2).mean(), rel=1e-5)
    assert found.whole.diversity["variance"] == pytest.approx(z.var(0).mean(), rel=1e-5)
    found.save(tmp_path)
    assert "variance" in found.table()
    assert json.loads((tmp_path / "ensemble.json").read_text())["averaged"] == "outputs"


def test_batch_norm_of_points_and_of_the_mean_is_corrected():
    pytest.importorskip("connectivity_hooks_corrections")
    states = [weights(seed, norm=True) for seed in (0, 1)]
    path, task = ch.Path.from_points(states), task_of(factory=lambda: net(norm=True))
    found = ensemble(path, task, points=3, correct="batch-norm")
    x = next(iter(task.train.batches(1000)))[0].double()

    def corrected(t):
        state = {name: w.double() if w.is_floating_point() else w for name, w in path(t).items()}
        hidden = x @ state["0.weight"].T + state["0.bias"]
        return state | {"1.running_mean": hidden.mean(0), "1.running_var": hidden.var(0)}

    make = lambda: net(norm=True)  # noqa: E731
    p = np.mean([softmax(outputs(corrected(t), task.test, make)[0]) for t in found.ts], 0)
    y = outputs(states[0], task.test, make)[1]
    assert found.whole.plain["log_likelihood"] == pytest.approx(by_hand(p, y)[1], abs=1e-3)
    middle = by_hand(softmax(outputs(corrected(0.5), task.test, make)[0]), y)
    assert found["mean of weights"].plain["log_likelihood"] == pytest.approx(middle[1], abs=1e-3)
    plain = ensemble(path, task, points=3)
    assert abs(plain.whole.plain["log_likelihood"] - found.whole.plain["log_likelihood"]) > 1e-2
    assert any("batch norm" in note for note in plain.notes)


def test_the_held_out_samples_are_of_the_training_split_alone(path):
    task = task_of()
    other = Task(
        net, task.train, CachedSplit("test", torch.zeros(9, 4), torch.zeros(9, dtype=torch.long)), batch_size=32
    )
    first, second = (ensemble(path, each, points=3, seed=1) for each in (task, other))
    assert [row.temperature for row in first.rows] == [row.temperature for row in second.rows]
    assert [row.temperature for row in first.rows] != [
        row.temperature for row in ensemble(path, task, points=3, seed=2).rows
    ]


def test_the_report_has_figures_picture_and_page(path, tmp_path):
    found = ensemble(path, task_of(), points=4)
    found.save(tmp_path)
    content = json.loads((tmp_path / "ensemble.json").read_text())
    assert content["bins"] == {"count": 15, "width": "equal"}
    bins = content["rows"]["ensemble of 4 points"]["plain"]["bins"]
    assert len(bins) == 15
    assert sum(each["count"] for each in bins) == 80
    page = (tmp_path / "ensemble.html").read_text()
    assert content["verdict"] in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "<svg" in page
    assert "<svg" in (tmp_path / "ensemble.svg").read_text()
    assert "mean of weights" in found.table()


@pytest.mark.parametrize("points", [1, 0, 1001])
def test_too_few_or_too_many_points_are_wrong_usage(path, points):
    with pytest.raises(ch.UsageError, match="points: expected a whole number from 2 to 1000"):
        ensemble(path, task_of(), points=points)


@pytest.mark.parametrize("share", [0, 1, 2.5])
def test_a_share_that_cannot_be_is_wrong_usage(path, share):
    with pytest.raises(ch.UsageError, match="hold_out"):
        ensemble(path, task_of(), hold_out=share)


def test_another_model_s_path_is_refused(path):
    with pytest.raises(ch.InputError, match="path does not fit"):
        ensemble(path, task_of(factory=lambda: net(norm=True)))


def test_another_model_s_checkpoint_is_refused(path, tmp_path):
    ch.save(net(norm=True), tmp_path / "other.safetensors")
    with pytest.raises(ch.InputError, match="other"):
        ensemble(path, task_of(), beside=[tmp_path / "other.safetensors"])


def test_another_loss_is_refused_in_a_line(path):
    task = Task(net, *data("numbers"), loss=LOSSES["l1"])
    with pytest.raises(ch.InputError, match="the loss is l1"):
        ensemble(path, task)


def test_a_checkpoint_beside_may_be_called_like_an_end(path, tmp_path):
    model = net()
    model.load_state_dict(weights(5))
    ch.save(model, tmp_path / "A.safetensors")
    found = ensemble(path, task_of(), points=3, beside=[tmp_path / "A.safetensors"])
    p, y = softmax(outputs(weights(5), task_of().test)[0]), outputs(weights(5), task_of().test)[1]
    assert found["A (beside)"].plain["log_likelihood"] == pytest.approx(by_hand(p, y)[1], abs=1e-5)
    assert found["A"].t == 0
    assert len({row.name for row in found.rows}) == len(found.rows)


def test_many_points_have_names_of_their_own():
    from connectivity_hooks_averaging.ensemble.members import point_names

    ts = np.linspace(0, 1, 3000).tolist()
    assert len(set(point_names(ts))) == 3000


def test_equal_checkpoints_beside_count_once_and_it_is_said(path, tmp_path):
    model = net()
    model.load_state_dict(weights(5))
    for name in ("c", "again"):
        ch.save(model, tmp_path / f"{name}.safetensors")
    found = ensemble(path, task_of(), points=2, beside=[tmp_path / "c.safetensors", tmp_path / "again.safetensors"])
    assert "again has the weights of c and counts once" in found.notes
    assert not any("beside" in name for name in found.groups)


@pytest.mark.parametrize(
    "arguments",
    [
        {"points": "3"},
        {"points": 2.5},
        {"hold_out": "0.1"},
        {"hold_out": 1},
        {"seed": "x"},
        {"beside": "c.safetensors"},
    ],
)
def test_arguments_of_another_kind_are_wrong_usage(path, arguments):
    with pytest.raises(ch.UsageError, match=f"ensemble: {next(iter(arguments))}: expected"):
        ensemble(path, task_of(), **arguments)


def test_numbers_of_numpy_are_numbers(path, tmp_path):
    found = ensemble(path, task_of(), points=np.int64(2), hold_out=np.float32(0.25), seed=np.int64(1))
    found.save(tmp_path)
    assert json.loads((tmp_path / "ensemble.json").read_text())["held_out"] == {"samples": 40, "seed": 1}
