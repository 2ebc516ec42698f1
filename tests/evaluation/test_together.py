"""Many points in one pass over the data: the figures of passes of their own, for modules of many kinds."""

import contextlib
import itertools
import threading

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.evaluation.evaluate import evaluate
from connectivity_hooks.evaluation.measurement import score
from connectivity_hooks.evaluation.measuring import make_correction
from connectivity_hooks.evaluation.passes import Passes
from connectivity_hooks.evaluation.together import Together, Way
from connectivity_hooks.model.running import Forward
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.loss import LOSSES, custom_loss

N, CLASSES, POINTS = 45, 3, 7


def mlp():
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, CLASSES))


class Reshaped(nn.Module):
    """Shapes inputs (N, 8) as the module inside takes them."""

    def __init__(self, inside, *shape):
        super().__init__()
        self.inside, self.shape = inside, shape

    def forward(self, x):
        return self.inside(x.reshape(len(x), *self.shape))


def cnn():
    inside = (nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(12, CLASSES))
    return Reshaped(nn.Sequential(*inside), 1, 2, 4)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Linear(2, 8), nn.Parameter(torch.randn(1, 4, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.block(self.embed(x.reshape(-1, 4, 2)) + self.place).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, 5, 2, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x):
        return {"logits": self.head(self.rnn(x.reshape(-1, 4, 2))[0][:, -1])}


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.linear(x)
        return torch.cat([row[None] if row.sum() > 0 else -row[None] for row in y])


class Writing(nn.Module):
    """Writes into its inputs, where nothing sees it if `hidden`."""

    def __init__(self, hidden=False):
        super().__init__()
        self.linear, self.hidden = nn.Linear(8, CLASSES), hidden

    def forward(self, x):
        y = self.linear(x)
        (x.data if self.hidden else x).mul_(0.5)
        return y


class Keeping(nn.Module):
    """Keeps a table of its weights."""

    def __init__(self):
        super().__init__()
        self.weight, self.table = nn.Parameter(torch.randn(8, CLASSES)), {}

    def forward(self, x):
        if "weight" not in self.table:
            self.table["weight"] = self.weight * 2
        return x @ self.table["weight"]


class Late(nn.Module):
    """Writes into its inputs where a value is large, as not every batch has one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.linear(x)
        return y if x.amax() < 50 else self.linear(x.clamp_(-1, 1))


KINDS = {
    mlp: Way.IN_TURN,
    cnn: Way.IN_TURN,
    Attending: Way.IN_TURN,
    Recurrent: Way.PLAIN,  # it notes the weights it is handed in a list of its own
    Branching: Way.IN_TURN,
    Writing: Way.PLAIN,
    (lambda: Writing(hidden=True)): Way.PLAIN,
    Keeping: Way.PLAIN,
}


def inputs():
    x = torch.randn(N, 8, generator=torch.Generator().manual_seed(0))
    x[-1] *= 100  # of the last batch, which no trial sees
    return x


def made(factory, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = factory()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_()
        return model


def task_of(factory, loss=LOSSES["cross-entropy"], dtype=torch.float32):
    y = torch.arange(N) % CLASSES
    return Task(factory, CachedSplit("train", inputs().to(dtype), y), loss=loss, batch_size=10, dtype=dtype)


def path_of(factory):
    return Path.from_points([dict(made(factory, seed).state_dict()) for seed in (1, 2, 3)])


@contextlib.contextmanager
def one_after_the_other(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Together, "group", lambda *_: 1)
        yield


@pytest.mark.parametrize(("factory", "way"), KINDS.items())
@pytest.mark.parametrize("threads", [1, 3])
def test_figures_are_those_of_one_point_after_the_other(factory, way, threads, monkeypatch):
    task, path, ways = task_of(factory), path_of(factory), []
    group = Together.group
    monkeypatch.setattr(Together, "group", lambda self, *given: (group(self, *given), ways.append(self.way))[0])
    with ch.threads(threads):
        found = ch.evaluate(path, task, points=POINTS, refine=1)
        with one_after_the_other(monkeypatch):
            expected = ch.evaluate(path, task, points=POINTS, refine=1)
    assert found.curves == expected.curves
    assert set(ways) == {way}


@pytest.mark.parametrize("factory", [mlp, cnn, Attending, Recurrent, Branching])
def test_losses_are_those_of_the_module_in_float64(factory):
    path = path_of(factory)
    curve = ch.evaluate(path, task_of(factory), points=POINTS, refine=0).curves["train"]
    for point in curve:
        model = made(factory, 0).double().eval()
        model.load_state_dict(path(point.t))
        outputs = Forward()(model, inputs().double())
        loss = nn.functional.cross_entropy(outputs, torch.arange(N) % CLASSES).item()
        assert point.loss == pytest.approx(loss, rel=1e-5)


def test_a_batch_that_is_written_into_after_the_trial_has_passes_of_its_own():
    task, path = task_of(Late), path_of(Late)
    with Passes(path, task) as passes:
        found = list(passes.scores([0.25, 0.5, 0.75], task.train, task.loss))
        assert passes._together.way is Way.PLAIN
        for t, scores in zip((0.25, 0.5, 0.75), found, strict=True):
            alone = score(passes.scored(t, task.train), task.loss)
            assert torch.equal(scores.losses.sums, alone.losses.sums)


def test_any_weights_are_points():
    task, path = task_of(mlp), path_of(mlp)
    others = [dict(made(mlp, seed).state_dict()) for seed in range(20, 60)]  # of several groups
    with Passes(path, task) as passes:
        found = list(passes.scores([*others, 0.5], task.train, task.loss))
    for weights, scores in zip([*others, path(0.5)], found, strict=True):
        model = mlp().double()
        model.load_state_dict(weights)
        outputs, wanted = model(inputs().double()), torch.arange(N) % CLASSES
        losses = nn.functional.cross_entropy(outputs, wanted, reduction="none")
        torch.testing.assert_close(scores.losses.sums, losses.detach(), rtol=1e-5, atol=1e-5)
        assert int(scores.errors.sums.sum()) == int((outputs.argmax(1) != wanted).sum())


def test_a_loss_of_ones_own_is_given_one_point_at_a_time_on_one_thread(monkeypatch):
    sizes, threads = set(), set()

    def loss(outputs, targets):
        sizes.add(len(outputs))
        threads.add(threading.current_thread())
        return (outputs.sum(1) - targets).abs()

    task, path = task_of(mlp, custom_loss("own", loss, convex=True)), path_of(mlp)
    with ch.threads(3):
        found = ch.evaluate(path, task, points=POINTS, refine=0)
        with one_after_the_other(monkeypatch):
            assert ch.evaluate(path, task, points=POINTS, refine=0).curves == found.curves
    assert max(sizes) == 10
    assert threads == {threading.main_thread()}


class Language(nn.Module):
    """Predicts each next token from those before it, with its embedding tied to its head."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.block(self.embed(tokens), src_mask=mask, is_causal=True)
        return {"logits": self.head(hidden), "hidden": hidden}


def test_so_are_those_of_a_language_model_whose_labels_are_ignored_in_part(monkeypatch):
    tokens = torch.randint(0, 11, (21, 6), generator=torch.Generator().manual_seed(0))
    labels = tokens.roll(-1, 1)
    labels[:, -1], labels[::3, 3:] = -100, -100
    task, path = (
        Task(Language, CachedSplit("train", tokens, labels), batch_size=10),
        path_of(Language),
    )  # the last batch is one sample
    found = ch.evaluate(path, task, points=POINTS, refine=0)
    with Passes(path, task) as passes:
        assert passes.group([0.25, 0.5]) == 16
    with one_after_the_other(monkeypatch):
        assert ch.evaluate(path, task, points=POINTS, refine=0).curves == found.curves
    model = made(Language, 0).double().eval()
    model.load_state_dict(path(found.curves["train"][2].t))
    logits = model(tokens)["logits"].movedim(-1, 1)
    loss = nn.functional.cross_entropy(logits, labels).item()
    assert found.curves["train"][2].loss == pytest.approx(loss, rel=1e-5)


class Kept:
    """A record that knows some points already."""

    def __init__(self, known):
        self.measured = {found[0].t: found for found in known}

    def __len__(self):
        return len(self.measured)

    def known(self, t):
        return self.measured.get(t)

    def add(self, found):
        self.measured[found[0].t] = found


def test_a_run_that_goes_on_in_other_groups_has_the_same_figures():
    task, path = task_of(mlp), path_of(mlp)
    whole = evaluate(path, task, points=25, refine=1)
    some = Kept([[point] for point in whole.curves["train"][3:9:2]])
    assert evaluate(path, task, points=25, refine=1, record=some).curves == whole.curves
    assert len(some) == len(whole.curves["train"])


@pytest.mark.parametrize(("lost", "groups"), [(1e9, 3), (0.0, 28)])
def test_points_go_through_the_data_in_groups(monkeypatch, lost, groups):
    monkeypatch.setitem(evaluate.__globals__, "_LOST", lost)  # the package has the function under the module's name
    asked = itertools.count()

    class Counted(CachedSplit):
        def batches(self, size):
            next(asked)
            return super().batches(size)

        def head(self, count):
            return CachedSplit("train", inputs()[:count], torch.arange(N)[:count] % CLASSES)

    task = Task(mlp, Counted("train", inputs(), torch.arange(N) % CLASSES), batch_size=10)
    ch.evaluate(path_of(mlp), task, points=33, refine=0)
    # the ends, and 31 points between them: four, and then 16 at a time, or one where a point takes long
    assert next(asked) == 2 + groups


def test_corrected_points_have_passes_of_their_own():
    task, path = task_of(cnn), path_of(cnn)
    with Passes(path, task, make_correction("batch-norm")) as passes:
        assert passes.group([0.25, 0.5, 0.75]) == 1
    with Passes(path, task) as passes:
        assert passes.group([0.25, 0.5, 0.75]) > 1


@pytest.mark.parametrize("factory", [mlp, cnn])
def test_all_points_at_once_give_the_same_within_rounding(factory):
    task, path = task_of(factory, dtype=torch.float64), path_of(factory)
    ts = [0.125 * i for i in range(1, 8)]
    with Passes(path, task) as passes:
        expected = list(passes.scores(ts, task.train, task.loss))
        passes._together.way = Way.AT_ONCE
        found = list(passes.scores(ts, task.train, task.loss))
        assert passes._together.way is Way.AT_ONCE
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.losses.sums, other.losses.sums, rtol=1e-12, atol=1e-12)
        assert torch.equal(one.errors.sums, other.errors.sums)


def test_memory_sets_how_many_points_go_together(monkeypatch):
    task, path = task_of(mlp), path_of(mlp)
    outputs = 4 * 10 * CLASSES * 8  # of a batch, as much in float64 as scoring takes
    for room, expected in ((100 * outputs, 16), (5 * outputs, 5)):
        monkeypatch.setattr("connectivity_hooks.evaluation.together._BYTES", room)
        monkeypatch.setattr("connectivity_hooks.evaluation.together._SCORES", 0.01)
        with Passes(path, task) as passes:
            assert passes.group([0.1, 0.2]) == expected


def test_weights_that_fit_once_are_not_copied(monkeypatch):
    task, path, copied = task_of(mlp), path_of(mlp), []
    size = sum(tensor.nbytes for tensor in path.start.values())
    monkeypatch.setattr("connectivity_hooks.evaluation.together._BYTES", 2 * size - 1)
    monkeypatch.setattr("connectivity_hooks.evaluation.together.point_of", copied.append)
    with Passes(path, task) as passes:
        assert passes.group([0.1, 0.2]) == 1
    assert copied == []


def test_scores_that_take_much_memory_are_of_fewer_points(monkeypatch):
    monkeypatch.setattr("connectivity_hooks.evaluation.together._SCORES", (1 << 28) // (3 * N))
    with Passes(path_of(mlp), task_of(mlp)) as passes:
        assert passes.group([0.1, 0.2]) == 3


def clock(monkeypatch, *seconds):
    """Let runs of a trial seem to take these."""
    left = iter(seconds)
    monkeypatch.setattr(Together, "_seconds", lambda _, run: (run(), next(left))[1])


@pytest.mark.parametrize(
    ("factory", "seconds", "way"),
    [(mlp, (1.0, 0.5), Way.AT_ONCE), (mlp, (1.0, 0.95), Way.IN_TURN), (Branching, (), Way.IN_TURN)],
)
def test_an_accelerator_takes_what_is_faster_of_what_is_allowed(factory, seconds, way, monkeypatch):
    clock(monkeypatch, *seconds)
    with Passes(path_of(factory), task_of(factory)) as passes:
        passes._together._processor = False
        assert passes.group([0.25, 0.5]) == {Way.AT_ONCE: 64, Way.IN_TURN: 16}[way]
        assert passes._together.way is way


def test_memory_of_all_values_keeps_points_from_being_computed_at_once(monkeypatch):
    clock(monkeypatch, 1.0, 0.5)
    monkeypatch.setattr("connectivity_hooks.evaluation.together._BYTES_AT_ONCE", 10)
    with Passes(path_of(mlp), task_of(mlp)) as passes:
        passes._together._processor = False
        assert passes.group([0.25, 0.5]) == 16
        assert passes._together.way is Way.IN_TURN


def test_the_clock_is_not_asked_on_a_processor(monkeypatch):
    clock(monkeypatch)
    with Passes(path_of(mlp), task_of(mlp)) as passes:
        passes.group([0.25, 0.5])
        assert passes._together.way is Way.IN_TURN


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("factory", "seconds"), [(mlp, (1.0, 0.5)), (mlp, (0.5, 1.0)), (cnn, (1.0, 0.5))])
def test_nothing_waits_for_an_accelerator(factory, seconds, monkeypatch):
    clock(monkeypatch, *seconds)
    device = torch.device("cuda")
    split = CachedSplit("train", inputs().to(device), torch.arange(N, device=device) % CLASSES)
    task, path = Task(factory, split, batch_size=10, device=device), path_of(factory)
    ts = [0.0625 * i for i in range(1, 16)]
    with Passes(path, task) as passes:
        assert passes.group(ts) >= len(ts)  # it tries, and waits
        way = passes._together.way
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = list(passes.scores(ts, task.train, task.loss))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert passes._together.way is way
        for t, scores in zip(ts, found, strict=True):
            alone = score(passes.scored(t, task.train), task.loss)
            torch.testing.assert_close(scores.losses.sums, alone.losses.sums, rtol=1e-5, atol=1e-5)
