"""Losses of Transformers' models: what is measured is what the model itself computes of the same labels."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import Task
from connectivity_hooks.tasks.loss import Terms, joined

hf = pytest.importorskip("transformers", reason="needs transformers: pip install 'connectivity-hooks[transformers]'")

TINY = pathlib.Path(__file__).parents[2] / "benchmarks" / "transformers_tiny.py"
WORDS = {"vocab_size": 30, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}


def tiny() -> Any:
    name = "transformers_tiny"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TINY)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


N = 7
DRAW = torch.Generator().manual_seed(0)
IDS = torch.randint(3, 30, (N, 6), generator=DRAW)
MASK = (torch.arange(6) < torch.tensor([6, 4, 5, 2, 6, 3, 1])[:, None]).long()
SENTENCES = {"input_ids": IDS, "attention_mask": MASK}
IMAGES = torch.randn(N, 3, 16, 16, generator=DRAW)


def made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = tiny().NETWORKS[name].make()
    return model.eval()


def bert(labels: int, **more: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = hf.BertForSequenceClassification(hf.BertConfig(**WORDS, num_labels=labels, **more))
    return model.eval()


def task_of(model: nn.Module, batch: dict[str, Tensor], **more: Any) -> Task:
    return ch.make_task(model=lambda: model, data=[batch], device="cpu", **more)


def terms_of(task: Task, size: int) -> Terms:
    with torch.no_grad():
        return joined(
            [
                task.loss.measure(task.forward(task.structure(), inputs), targets)
                for inputs, targets in task.train.batches(size)
            ]
        )


def own(model: nn.Module, **inputs: Any) -> float:
    with torch.no_grad():
        return float(model(**inputs).loss)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "GPT-NeoX"])
def test_tokens_without_labels_are_those_of_a_language_model(name: str) -> None:
    model = made(name)
    task = task_of(model, SENTENCES)
    expected = own(model, **SENTENCES, labels=IDS.masked_fill(MASK == 0, -100))
    for size in (1, 3, N):
        assert float(terms_of(task, size).mean()) == pytest.approx(expected, rel=1e-5)
    assert terms_of(task, N).weights.tolist() == (MASK.sum(1) - 1).tolist()
    assert task.loss.convex
    assert any("so they are the tokens, of which padding does not count" in note for note in task.notes)
    assert any("of the next token" in note for note in task.notes)
    assert not any("autoencoder" in note for note in task.notes)


def test_tokens_are_no_labels_of_a_model_that_does_not_predict_the_next() -> None:
    for name in ("BERT, masked words", "BERT, classification", "T5"):
        with pytest.raises(InputError, match=r"batches have no 'labels'|targets are|do not fit the model"):
            task_of(made(name), SENTENCES)
    with pytest.raises(InputError, match=r"batches have no 'labels'.*give batches with 'labels'"):
        task_of(made("BERT, masked words"), {"input_ids": IDS})


def test_tokens_of_a_model_without_a_loss_of_its_own() -> None:
    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(30, 4), nn.Linear(4, 30)

        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return self.head(self.embed(input_ids))

    assert any("autoencoder" in note for note in task_of(Copying(), {"input_ids": IDS}).notes)
    with pytest.raises(InputError, match=r"batches have no 'labels'"):
        task_of(Copying(), SENTENCES)


def test_labels_are_given_to_a_decoder_that_would_run_without() -> None:
    model, labels = made("BART"), torch.randint(3, 30, (N, 6), generator=DRAW)
    task = task_of(model, {**SENTENCES, "labels": labels})
    assert float(terms_of(task, N).mean()) == pytest.approx(own(model, **SENTENCES, labels=labels), rel=1e-5)
    assert not any("itself returns" in note for note in task.notes)


FLOATS = torch.randn(N, 1, generator=DRAW)
CHOSEN = {
    "one value": (bert(1), FLOATS, "mse", F.mse_loss),
    "a vector": (bert(1), FLOATS[:, 0], "mse", lambda o, y: F.mse_loss(o[:, 0], y)),
    "three values": (
        bert(3, problem_type="regression"),
        torch.randn(N, 3, generator=DRAW),
        "mse",
        F.mse_loss,
    ),
    "several labels": (
        bert(4),
        (torch.rand(N, 4, generator=DRAW) < 0.4).float(),
        "bce",
        F.binary_cross_entropy_with_logits,
    ),
    "one label": (bert(4), torch.arange(N) % 4, "cross-entropy", F.cross_entropy),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_the_loss_nobody_named_is_the_models_own_and_said(case: str) -> None:
    model, labels, name, function = CHOSEN[case]
    task = task_of(model, {**SENTENCES, "labels": labels})
    with torch.no_grad():
        logits = model(**SENTENCES).logits.double()
    wanted = labels.double() if labels.is_floating_point() else labels
    assert task.loss.name == name
    assert float(terms_of(task, 3).mean()) == pytest.approx(float(function(logits, wanted)), rel=1e-5)
    said = [note for note in task.notes if note.startswith(f"loss {name}: that is what Bert")]
    assert len(said) == (name != "cross-entropy")


def test_a_loss_that_was_named_is_never_replaced() -> None:
    batch = {**SENTENCES, "labels": CHOSEN["several labels"][1]}
    task = task_of(bert(4), batch, loss="mse")
    assert task.loss.name == "mse"
    assert any("is not the loss that BertForSequenceClassification itself returns" in note for note in task.notes)
    with pytest.raises(InputError, match="cross-entropy"):
        task_of(bert(1), {**SENTENCES, "labels": FLOATS}, loss="cross-entropy")


def test_plain_data_have_a_cross_entropy_as_ever() -> None:
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    task = ch.make_task(model=lambda: nn.Linear(4, 3), data=[(x, y)], device="cpu")
    assert task.loss.name == "cross-entropy"
    assert task.notes == ()


def segmented(size: int = 16) -> Tensor:
    labels = torch.randint(0, 5, (N, size, size), generator=torch.Generator().manual_seed(1))
    labels[3, :4] = 255
    return labels


@pytest.mark.parametrize("ignored", [255, -100])
def test_pixels_are_compared_at_the_size_of_the_labels(ignored: int) -> None:
    model, labels = made("SegFormer"), segmented()
    with torch.no_grad():
        logits = model(pixel_values=IMAGES).logits.double()
    assert logits.shape[2:] != labels.shape[1:]
    large = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    expected = F.cross_entropy(large, labels, ignore_index=255)
    given = labels.masked_fill(labels == 255, ignored)
    task = task_of(model, {"pixel_values": IMAGES, "labels": given})
    terms = terms_of(task, 3)
    assert float(terms.mean()) == pytest.approx(float(expected), rel=1e-6)
    assert terms.weights.tolist() == (labels != 255).flatten(1).sum(1).tolist()
    assert task.loss.convex
    assert task.loss.errors is not None
    errors = task.loss.errors(logits, given)
    assert int(errors.sums.sum()) == int(((large.argmax(1) != labels) & (labels != 255)).sum())
    assert any("brought to the size of the labels, bilinearly" in note for note in task.notes)
    assert any("labels of 255 are left out" in note for note in task.notes) == (ignored == 255)
    training = logits.clone().requires_grad_()
    task.loss(training, given).backward()
    assert training.grad is not None
    torch.testing.assert_close(training.grad, torch.autograd.grad(
        F.cross_entropy(F.interpolate(training, labels.shape[1:], mode="bilinear"), labels, ignore_index=255), training
    )[0])  # fmt: skip


def test_pixels_of_a_model_that_says_nothing_of_their_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"do not fit outputs \(2, 5, 7, 7\)"):
        ch.make_task(model=lambda: nn.Conv2d(3, 5, 3, 2), data=[(IMAGES, segmented() % 5)], device="cpu")


def pairs() -> dict[str, Tensor]:
    return {**SENTENCES, "pixel_values": IMAGES}


def test_images_and_texts_are_contrasted_in_fixed_batches() -> None:
    model = made("CLIP")
    task = task_of(model, pairs(), batch_size=3)
    assert task.loss.name == "contrastive"
    assert not task.loss.convex
    assert not task.loss.rowwise
    terms = terms_of(task, 3)
    batches = [{name: value[rows] for name, value in pairs().items()} for rows in (slice(3), slice(3, 6), slice(6, 7))]
    for rows, batch in zip(terms.sums.split(3), batches, strict=True):
        assert float(rows.mean()) == pytest.approx(own(model, **batch, return_loss=True), rel=1e-5, abs=1e-6)
    assert terms.weights.tolist() == [1] * N
    assert any("is of whole batches" in note and "3 samples" in note for note in task.notes)
    assert any("are given, and none are needed" in note for note in task.notes)


def test_retrieval_errors_are_counted_both_ways() -> None:
    task = task_of(made("CLIP"), pairs())
    outputs = torch.eye(4).double()
    outputs[0, 1] = 2.0  # image 0 finds text 1, and text 1 finds image 0
    assert task.loss.errors is not None
    assert task.loss.errors(outputs, IDS[:4]).sums.tolist() == [1, 1, 0, 0]
    with pytest.raises(InputError, match=r"expected those \(n, n\) of one batch"):
        task.loss.check(outputs[:2], IDS[:2])


@pytest.mark.parametrize("loss", ["auto", "own"])
def test_conditions_that_pass_copies_at_once_refuse_a_loss_of_batches(loss: str) -> None:
    model, batch = (made("CLIP"), pairs()) if loss == "auto" else (made("BERT, masked words"), masked_words())
    task = task_of(model, batch, loss=loss)
    (verdict, *_) = ch.check(model, task, "dropout-stability")
    assert verdict.holds is None
    assert "depends on its batch" in verdict.reason


def masked_words() -> dict[str, Tensor]:
    return {**SENTENCES, "labels": IDS.masked_fill(torch.arange(6) % 2 == 0, -100)}


@pytest.mark.parametrize("name", ["BERT, masked words", "GPT-2", "Wav2Vec2"])
@pytest.mark.parametrize("size", [1, 3, N])
def test_the_models_own_loss_is_that_of_all_the_data(name: str, size: int) -> None:
    """GPT-2 moves labels, so that those at the first position count for nothing; CTC sums over all samples."""
    model, batch = made(name), masked_words()
    if name == "Wav2Vec2":
        sounds = torch.randn(N, 160, generator=torch.Generator().manual_seed(3))
        batch = {"input_values": sounds, "labels": torch.arange(3, 3 + 2 * N).view(N, 2)}
    task = task_of(model, batch, loss="own", batch_size=size)
    expected = own(model, **batch) / (2 * N if name == "Wav2Vec2" else 1)
    terms = terms_of(task, size)
    assert float(terms.mean()) == pytest.approx(expected, rel=1e-5)
    assert int((terms.weights > 0).sum()) == -(-N // size)
    assert not task.loss.convex
    assert task.loss.errors is None


def test_a_path_is_measured_by_the_models_own_loss() -> None:
    model = made("BERT, masked words")
    a = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    b = {name: tensor * 1.1 if tensor.is_floating_point() else tensor for name, tensor in a.items()}
    task = ch.make_task(
        model=lambda: made("BERT, masked words"), data=[masked_words()], loss="own", batch_size=2, device="cpu"
    )
    curve = ch.evaluate(ch.Path.from_points([a, b]), task, points=2, refine=0).curves["train"]
    assert curve[0].loss == pytest.approx(own(model, **masked_words()), rel=1e-5)
    assert curve[0].samples == 4
    assert curve[0].error is None


def test_what_the_models_own_loss_cannot_be() -> None:
    batch = masked_words()
    with pytest.raises(UsageError, match="leave output="):
        task_of(made("BERT, masked words"), batch, loss="own", output="logits")
    with pytest.raises(UsageError, match="is not convex"):
        task_of(made("BERT, masked words"), batch, loss="own", loss_is_convex=True)
    with pytest.raises(InputError, match=r"Linear takes no 'labels'"):
        ch.make_task(model=lambda: nn.Linear(4, 2), data=[(torch.randn(4, 4), torch.arange(4))], loss="own")
    with pytest.raises(InputError, match=r"let the loader give a dict"):
        ch.make_task(model=lambda: made("BERT, masked words"), data=[(IDS, batch["labels"])], loss="own")
    with pytest.raises(InputError, match=r"labels are all -100"):
        task_of(made("GPT-2"), {**SENTENCES, "labels": torch.full_like(IDS, -100)}, loss="own")


def test_where_ours_do_not_fit_the_models_own_is_named() -> None:
    sounds = torch.randn(N, 160, generator=torch.Generator().manual_seed(3))
    with pytest.raises(InputError, match=r"take the loss that Wav2Vec2ForCTC itself returns, --loss own"):
        task_of(made("Wav2Vec2"), {"input_values": sounds, "labels": torch.arange(3, 3 + 2 * N).view(N, 2)})


def test_batches_without_the_models_inputs_name_both() -> None:
    with pytest.raises(InputError, match=r"the batch has 'tokens', and \S+ takes 'input_ids', 'attention_mask'"):
        task_of(made("BERT, classification"), {"tokens": IDS, "labels": torch.arange(N) % 2})


def test_a_watched_language_model_needs_no_labels() -> None:
    model, layer = made("GPT-2"), "transformer.h.1.mlp.c_proj:input"
    with ch.watch(model, SENTENCES, every=1, conditions="dropout-stability", layers=layer) as watch:
        watch.step()
    assert watch.faults == ()
    (row,) = watch.history
    (verdict,) = ch.check(model, task_of(model, SENTENCES), "dropout-stability", layers=layer)
    assert row.measured == pytest.approx(verdict.measured, rel=1e-5)
    expected = own(model, **SENTENCES, labels=IDS.masked_fill(MASK == 0, -100))
    assert verdict.details["loss"] - verdict.measured == pytest.approx(expected, rel=1e-5)


def test_a_watched_model_of_masked_words_needs_labels() -> None:
    model, names = made("BERT, masked words"), ["dropout-stability", "feature-rank"]
    with (
        pytest.warns(UserWarning, match="cannot be measured"),
        ch.watch(model, SENTENCES, every=1, conditions=names) as watch,
    ):
        watch.step()
    stable, ranks = ([row for row in watch.history if row.condition == name] for name in names)
    assert all(row.status == "invalid" and "give 'labels'" in row.reason for row in stable)
    assert all(row.measured is not None for row in ranks)


def test_a_path_between_language_models_is_measured_and_verified(tmp_path: pathlib.Path) -> None:
    """Through files and the command's own functions, batches padded each to a length of its own left out."""
    for name in ("GPT-2", "CLIP", "SegFormer"):
        model = made(name)
        batch = {"GPT-2": SENTENCES, "CLIP": pairs(), "SegFormer": {"pixel_values": IMAGES, "labels": segmented()}}
        a = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        b = {key: tensor * 1.1 if tensor.is_floating_point() else tensor for key, tensor in a.items()}
        task = ch.make_task(model=lambda name=name: made(name), data=[batch[name]], batch_size=4, device="cpu")
        path = ch.Path.from_points([a, b])
        curve = ch.evaluate(path, task, points=2, refine=0).curves["train"]
        path.save(tmp_path / f"{name}.path.safetensors")
        found = ch.verify(tmp_path / f"{name}.path.safetensors", task)
        assert found.findings == ()
        assert found.largest["train"][0] == pytest.approx(max(point.loss for point in curve), rel=1e-6)


def test_the_wrapper_for_questions_and_answers_gives_the_models_own_loss() -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"torch": torch, "transformers": hf}
    exec("class Answers" + page.partition("```python\nclass Answers")[2].partition("```")[0], names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = names["Answers"](hf.BertConfig(**WORDS)).eval()
    starts, ends = torch.randint(0, 6, (2, N), generator=torch.Generator().manual_seed(4))
    plain = hf.BertForQuestionAnswering(hf.BertConfig(**WORDS)).eval()
    plain.load_state_dict(model.state_dict())
    expected = own(plain, **SENTENCES, start_positions=starts, end_positions=ends)
    for loss in ("auto", "own"):
        task = task_of(model, {**SENTENCES, "labels": torch.stack([starts, ends], 1)}, loss=loss)
        assert float(terms_of(task, 3).mean()) == pytest.approx(expected, rel=1e-5)
        assert not any("itself returns" in note or "averages over" in note for note in task.notes)
    with pytest.raises(InputError, match=r"own: BertForQuestionAnswering takes no 'labels'.*wrap it.*docs/data.md"):
        task_of(plain, {**SENTENCES, "labels": torch.stack([starts, ends], 1)}, loss="own")
    series = {"past_values": IMAGES, "target_values": IMAGES}
    with pytest.raises(InputError, match=r"under names of their own is wrapped in one that takes 'labels'"):
        task_of(plain, series)


def test_a_model_that_is_asked_without_labels_gives_its_own_loss() -> None:
    model, batch = made("SigLIP"), pairs()
    with pytest.raises(InputError, match=r"takes no 'labels'.*put 'return_loss': True into the batches"):
        task_of(model, batch, loss="own")
    asked: dict[str, Any] = {**batch, "return_loss": True}
    task = task_of(model, asked, loss="own", batch_size=N)
    assert float(terms_of(task, N).mean()) == pytest.approx(own(model, **batch, return_loss=True), rel=1e-5)
    assert terms_of(task, 3).weights.tolist() == [3, 0, 0, 3, 0, 0, 1]
    assert any("are given, and none are needed" in note for note in task.notes)
