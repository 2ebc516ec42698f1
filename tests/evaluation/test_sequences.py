"""Evaluation of a model of sequences of which some tokens are ignored, against PyTorch's mean over all tokens."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.loss import custom_loss

N, T, WORDS, CLASSES = 50, 6, 11, 4


class Tagger(nn.Module):
    def __init__(self, last=False):
        super().__init__()
        self.words, self.head, self.last = nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES), last

    def forward(self, tokens):
        logits = self.head(self.words(tokens.long()).relu())
        return logits if self.last else logits.transpose(1, 2)


class Convolved(nn.Module):
    """The same with an output layer after which nothing comes."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(WORDS, 8), nn.Conv1d(8, CLASSES, 1)

    def forward(self, tokens):
        return self.head(self.words(tokens.long()).relu().transpose(1, 2))


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, WORDS, (N, T), generator=generator)
    lengths = torch.randint(0, T + 1, (N, 1), generator=generator)
    labels = torch.randint(0, CLASSES, (N, T), generator=generator)
    return tokens, torch.where(torch.arange(T) < lengths, labels, -100)


@pytest.fixture
def task():
    tokens, labels = data()
    return Task(Tagger, CachedSplit("train", tokens[:40], labels[:40]), CachedSplit("test", tokens[40:], labels[40:]))


def weights(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {name: 2 * w for name, w in Tagger().state_dict().items()}


def exact(point, split, factory=Tagger):
    """Return PyTorch's own mean, and the share of wrong tokens among those that count, in float64."""
    model = factory().double()
    model.load_state_dict({name: w.double() for name, w in point.items()})
    logits, labels = model(split.inputs), split.targets()
    wrong = (logits.argmax(1) != labels)[labels != -100]
    return cross_entropy(logits, labels).item(), wrong.double().mean().item()


@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize("last", [False, True])
def test_every_token_that_counts_does_so_once(task, size, last):
    task = replace(task, factory=lambda: Tagger(last), batch_size=size)
    path = ch.Path.from_points([weights(0), weights(1)])
    found = ch.evaluate(path, task, points=5, refine=0)
    for split in task.splits():
        for point in found.curves[split.name]:
            loss, error = exact(path(point.t), split)
            assert point.loss == pytest.approx(loss, rel=1e-5)
            assert point.error == pytest.approx(error, abs=1e-12)
            ends = [exact(path(t), split)[0] for t in (0.0, 1.0)]
            assert point.climb == pytest.approx(loss - max(ends), abs=1e-5)
    assert bool(found.notes) == last
    guess = found.guessing["train"]
    kept = task.train.targets()[task.train.targets() != -100]
    assert guess.error == pytest.approx(1 - torch.bincount(kept).max().item() / len(kept))


def test_a_convex_segment_is_proven_and_verified_token_by_token(task, tmp_path):
    task = replace(task, factory=Convolved)
    a, b = ({**w, "head.weight": w["head.weight"][:, :, None]} for w in (weights(0), weights(1)))
    end = {**a, "head.weight": b["head.weight"], "head.bias": b["head.bias"]}
    path = ch.Path.from_points([a, end], guarantees=["convex"])
    path.save(tmp_path / "p.path.safetensors")
    found, verified = ch.evaluate(path, task), ch.verify(tmp_path / "p.path.safetensors", task)
    assert verified.holds, verified.findings
    assert {point.source for point in found.curves["train"]} == {"forward", "outputs"}
    for split in task.splits():
        largest = max(exact(point, split, Convolved)[0] for point in (a, end))
        assert found.bound[split.name] == pytest.approx(largest, rel=1e-6)
        assert verified.bound[split.name] == pytest.approx(largest, rel=1e-6)
        for point in found.curves[split.name]:
            assert point.loss == pytest.approx(exact(path(point.t), split, Convolved)[0], rel=1e-5)


def test_weights_of_one_s_own_that_move_prove_nothing(task, tmp_path):
    """They agree where `evaluate` looks first, at A, and change on the way."""

    def moving(outputs, targets):
        values = cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
        return values.sum(1), (outputs.abs().amax((1, 2)) > 20).to(values) + 1

    a, b = weights(0), weights(1)
    end = {**a, "head.weight": 50 * b["head.weight"]}
    path = ch.Path.from_points([a, end], guarantees=["convex"])
    path.save(tmp_path / "p.path.safetensors")
    own = replace(task, factory=lambda: Tagger(last=True), loss=custom_loss("own", moving, convex=True))
    with pytest.raises(InputError, match="loss own: its weights change with the outputs"):
        ch.evaluate(path, own)
    assert not ch.verify(tmp_path / "p.path.safetensors", own).holds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels.fill_(-100), "train labels are all -100"),
        (lambda labels: labels[3].fill_(-1), r"labels lie in \[-1, 3\], the model has 4 outputs"),
        (lambda labels: labels[3].fill_(4), r"labels lie in \[0, 4\], the model has 4 outputs"),
    ],
)
def test_labels_that_cannot_be_are_refused_in_a_line(task, change, said):
    tokens, labels = data()
    change(labels)
    path = ch.Path.from_points([weights(0), weights(1)])
    with pytest.raises(InputError, match=said):
        ch.evaluate(path, replace(task, train=CachedSplit("train", tokens, labels)), points=2, refine=0)


def test_how_labels_are_read_is_said_in_the_report(task, tmp_path):
    path, last = ch.Path.from_points([weights(0), weights(1)]), replace(task, factory=lambda: Tagger(last=True))
    found = ch.evaluate(path, last, points=2, refine=0)
    (note,) = found.notes
    assert note.startswith("loss cross-entropy: outputs (N, 6, 4), targets (N, 6): the last axis of the outputs")
    found.save(tmp_path)
    assert (tmp_path / "report.html").read_text().count("the last axis of the outputs is taken") == 1


def test_a_split_as_long_as_there_are_classes_is_read_like_the_first(task):
    last, square = replace(task, factory=lambda: Tagger(last=True)), task.test
    square = CachedSplit("test", square.inputs[:, :CLASSES], square.targets()[:, :CLASSES])
    path = ch.Path.from_points([weights(0), weights(1)])
    found = ch.evaluate(path, replace(last, test=square), points=2, refine=0)
    assert found.curves["test"][0].loss == pytest.approx(exact(path(0.0), square)[0], rel=1e-5)
