"""Losses and errors go by the field's names: perplexity and token error, pixel error, sequences that are drawn."""

import math
from dataclasses import replace

import pytest
import torch
from language_models import WORDS, Table, lines, of_pixels, of_tokens, sequences, tables
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.evaluation.perplexity import in_words, limits, perplexity
from connectivity_hooks.evaluation.units import unit_of
from connectivity_hooks.tasks import LOSSES, CachedSplit, Task
from connectivity_hooks.tasks.loss import custom_loss


def words_of(found):
    return " ".join([found.conclusion.headline, *found.conclusion.sentences])


def own_loss(outputs, targets):
    return cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")


LABELS = torch.zeros(4, 5, dtype=torch.long)
ONE_EACH = torch.full((4, 5), -100).index_fill(1, torch.tensor([2]), 1)
CASES = {
    "tokens, classes last": ("cross-entropy", (4, 5, 3), LABELS, "token"),
    "tokens, classes second": ("cross-entropy", (4, 3, 5), LABELS, "token"),
    "pixels": ("cross-entropy", (4, 3, 5, 6), torch.zeros(4, 5, 6, dtype=torch.long), "pixel"),
    "a mask": ("bce", (4, 1, 5, 6), torch.zeros(4, 1, 5, 6), "pixel"),
    "a label a sample": ("cross-entropy", (4, 3), torch.zeros(4, dtype=torch.long), None),
    "a position a sample": ("cross-entropy", (4, 3, 1), torch.zeros(4, 1, dtype=torch.long), None),
    "a label that counts a sample": ("cross-entropy", (4, 3, 5), ONE_EACH, None),
    "voxels": ("cross-entropy", (4, 3, 2, 2, 2), torch.zeros(4, 2, 2, 2, dtype=torch.long), None),
    "probabilities": ("cross-entropy", (4, 3, 5), torch.full((4, 3, 5), 1 / 3), None),
    "several labels": ("bce", (4, 5), torch.zeros(4, 5), None),
    "values": ("mse", (4, 5, 6), torch.zeros(4, 5, 6), None),
}


@pytest.mark.parametrize("name", CASES)
def test_what_counts_once_is_read_from_the_shapes(name):
    loss, shape, targets, unit = CASES[name]
    assert unit_of(LOSSES[loss], torch.zeros(shape), targets, targets) == unit


def test_of_a_loss_of_ones_own_nothing_is_assumed():
    task = replace(of_tokens(), loss=custom_loss("own", own_loss, convex=True))
    found = ch.evaluate(tables(), task, points=3, refine=0)
    assert (found.unit, found.perplexity) == (None, {})
    assert "perplexity" not in words_of(found) + found.table()


def test_the_perplexity_is_e_to_pytorchs_mean_of_all_tokens_that_count():
    task, path = of_tokens(), tables()
    found = ch.evaluate(path, task, points=9, refine=0)
    assert found.unit == found.task["unit"] == "token"
    for split in task.splits():
        expected = []
        for point in found.curves[split.name]:
            weight = path(point.t)["words.weight"].double()
            logits = weight[split.inputs].movedim(-1, 1)
            expected.append(float(cross_entropy(logits, split.targets()).exp()))
        seen = found.perplexity[split.name]
        assert seen.ends == pytest.approx((expected[0], expected[-1]), rel=1e-6)
        assert (seen.max, seen.min, seen.middle) == pytest.approx((max(expected), min(expected), expected[4]), rel=1e-6)
        highest = found.curves[split.name][4]
        assert (seen.max_t, highest.t) == (0.5, 0.5)
        half = highest.loss_interval
        assert [math.log(limit) for limit in seen.max_interval] == pytest.approx(
            [highest.loss - half, highest.loss + half], abs=1e-12
        )


def test_the_verdict_and_the_sentences_say_it():
    found = ch.evaluate(tables(3.0, -3.0), of_tokens(), points=9, refine=0)
    low, high = (math.log(math.exp(s) + WORDS - 1) - s for s in (3.0, -3.0))
    ends, middle = f"{math.exp(low):.4g}", f"{math.exp(high):.4g}"
    headline = found.conclusion.headline
    assert headline.startswith("Not connected by the given path: the train loss rises ")
    assert "and the token error 100.00 points" in headline
    assert headline.endswith(f"above the worse end's (perplexity {ends} at the worse end, {middle} at t = 0.500).")
    text = words_of(found)
    assert f"On train the perplexity is {ends} at A and {ends} at B, and highest at t = 0.500: {middle}" in text
    assert "On train the loss, in nats a token, is " in text
    assert "On test the token error is 0.00 % at A" in text
    guess = found.guessing["train"]
    assert f"a loss of {guess.loss:.4g} (perplexity {math.exp(guess.loss):.4g}) and a token error of " in text


@pytest.mark.parametrize(
    ("middle", "says"), [(4.5, "nor the token error rises above"), (3.9, ", and the token error does not (perplexity")]
)
def test_what_is_connected_is_said_in_perplexity_too(middle, says):
    found = ch.evaluate(tables(4.0, middle), of_tokens(600), points=9, refine=0)
    assert found.conclusion.verdict == "connected"
    assert says in found.conclusion.headline
    assert " at the worse end, " in found.conclusion.headline


def test_sequences_are_what_is_too_few_not_tokens():
    """Of 1800 tokens in 12 sequences none changes; 139 that are drawn one by one would rule out that any does."""
    tokens, targets = sequences(12, ignored=False, length=150)
    few = Task(Table, CachedSplit("train", tokens, targets))
    found = ch.evaluate(tables(4.0, 4.0), few, points=5, refine=0)
    moved = replace(found, length=1.0)  # ends of one set of weights leave nothing open
    assert moved.conclusion.verdict == "undecided"
    assert moved.conclusion.headline.startswith("Too few samples to tell whether the token error rises")
    assert "on 12 train sequences it does not rise" in moved.conclusion.headline
    one = ch.evaluate(tables(4.0, 3.0), replace(few, train=few.train.head(1)), points=5, refine=0)
    assert "on 1 train sequence " in one.conclusion.headline
    assert "95 % interval" not in next(text for text in one.conclusion.sentences if "perplexity" in text)


@pytest.mark.parametrize(("loss", "classes"), [("cross-entropy", 3), ("bce", 1)])
def test_pixels_have_pixel_errors_and_no_perplexity(loss, classes):
    found = ch.evaluate(lines(classes), of_pixels(loss, classes), points=5, refine=0)
    assert (found.unit, found.perplexity) == ("pixel", {})
    text = words_of(found)
    assert "On train the pixel error is" in text
    assert "On train the loss, in nats a pixel, is" in text
    assert "perplexity" not in text + found.table()
    assert "pixel error max" in found.table()


def test_classes_of_samples_have_errors_as_ever(setting):
    path = ch.Path.from_points([setting.weights(1), setting.weights(2)])
    found = ch.evaluate(path, setting.task, points=3, refine=0)
    assert (found.unit, found.task["unit"], found.perplexity) == (None, None, {})
    assert "On train the error is" in words_of(found)
    assert "  error max" in found.table()


def test_what_no_float_holds_is_more_than_a_million():
    assert perplexity(1000.0) == math.inf
    assert in_words(1000.0) == in_words(14.0) == "> 1e6"
    assert (in_words(math.log(58)), in_words(math.inf), in_words(None)) == ("58", "–", "–")
    assert (limits(2.0, 1e9), limits(0.0, math.inf), limits(1e7, 1e8)) == ("2 to > 1e6", "", "")
    found = ch.evaluate(tables(3.0, -900.0), of_tokens(), points=5, refine=0)
    assert found.perplexity["train"].max == math.inf
    assert "at the worse end, > 1e6 at t = 0.500)" in found.conclusion.headline
    assert "inf" not in words_of(found).replace("in f", "").split()


OWN = """
import torch

class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.words(input_ids))
        weight = torch.tensor([1.0, 5.0, 25.0])
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits.mT, labels, weight=weight)
        return {"logits": logits} if labels is None else {"logits": logits, "loss": loss}

def data():
    g = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(9, (30, 6), generator=g), "labels": torch.randint(3, (30, 6), generator=g)}

def loaders():
    return [data()]
"""


def test_a_batch_that_has_one_term_is_not_called_a_sample(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(OWN)
    namespace = {}
    exec(OWN, namespace)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        ch.save(namespace["Tokens"](), f"{name}.safetensors")
    given = ("--model", "net.py:Tokens", "--data", "net.py:loaders", "--loss", "own", "--points", 3)
    status, out, err = run("connect", "a.safetensors", "b.safetensors", *given, "--out", "o")
    assert status in (0, 4), err
    assert "Too few batches to tell whether the loss rises along the linear path: on 1 train batch " in out
    assert "confidence over the batches" in (tmp_path / "o" / "report.html").read_text()
