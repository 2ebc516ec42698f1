"""Building with an aligner: what was aligned is kept while the builder works, and believed only where it is true."""

import pytest
import torch
from bending_plugin import Bend
from small_networks import mlp, vector_task

import connectivity_hooks as ch
from connectivity_hooks.connecting.build import build
from connectivity_hooks.connecting.methods import make_aligner, make_builder
from connectivity_hooks.connecting.pair import load_pair
from connectivity_hooks.connecting.work import ALIGNED, PairWork
from connectivity_hooks.contracts import Aligner, Alignment, Builder
from connectivity_hooks.contracts.work import UNKEPT
from connectivity_hooks.errors import ConnectivityError
from connectivity_hooks.paths import Path
from connectivity_hooks.progress import SILENT
from connectivity_hooks.testing import BuilderSuite


def test_an_aligned_end_survives_the_kill_of_the_builder(plugin, task, ends, tmp_path, always_due, kill_after, equal):
    whole = ch.connect(*ends, task, builder="bend", align="turned")
    plugin.ran.clear()
    with pytest.raises(kill_after(2)):  # the aligned end, then the builder's first state
        ch.connect(*ends, task, builder="bend", align="turned", keep=tmp_path)
    assert plugin.ran == ["aligned", 1, 2, 3, 4, 5]
    plugin.ran.clear()
    kill_after(0)
    path = ch.connect(*ends, task, builder="bend", align="turned", keep=tmp_path)
    assert plugin.ran == list(range(6, 31))
    assert equal(path, whole)
    assert path.alignment == whole.alignment


def test_builders_of_one_command_share_the_aligned_end(plugin, run, words, ends):
    line = ["connect", *ends, *words, "--points", 2, "--refine", 0, "--align", "turned"]
    assert run(*line, "--builder", "linear", "--builder", "bend") == 0
    assert plugin.ran.count("aligned") == 1


def test_a_kept_end_that_is_another_function_is_aligned_anew(plugin, task, ends, tmp_path):
    pair = load_pair(*ends, task)
    work = PairWork(tmp_path, "pair", {"ends": ["0", "1"]})
    forged = {name: tensor * 1.5 for name, tensor in pair.b.items()}
    work.state(ALIGNED).save(forged, {"aligner": "turned"})
    builder = make_builder("linear", None, seed=0, progress=SILENT)
    aligner = make_aligner("turned", None, seed=0, progress=SILENT)
    path = build(pair, task, builder, aligner, work).path
    assert plugin.ran == ["aligned"]
    first = next(iter(pair.b))
    assert torch.equal(path.end[first], pair.b[first].flip(0))


def test_a_method_has_the_pairs_work_in_hand_only_while_it_works(plugin, task, ends, tmp_path):
    pair, seen = load_pair(*ends, task), []
    builder = make_builder("bend", {"steps": 1}, seed=0, progress=SILENT)
    inner = builder.build
    builder.build = lambda *given: seen.append(builder.work) or inner(*given)
    build(pair, task, builder, None, PairWork(tmp_path, "one", {"ends": ["0", "1"]}))
    build(pair, task, builder, None, PairWork(tmp_path, "two", {"ends": ["0", "1"]}))
    build(pair, task, builder)
    assert len({id(work) for work in seen}) == 3
    assert not list(tmp_path.glob(".*"))  # nothing was due
    assert seen[2] is builder.work is UNKEPT


class TestBend(BuilderSuite):
    builder = Bend

    def make_task(self):
        return vector_task(lambda: mlp(12))


def test_the_suite_sees_a_builder_that_forgets_where_its_generator_was():
    class Forgetful(Bend):
        """As the other, but its generator begins anew."""

        def build(self, a, b, task):
            if self.work.load() is not None:
                self.work.load().tensors["generator"].copy_(torch.Generator().manual_seed(9).get_state())
            return super().build(a, b, task)

    class Suite(TestBend):
        builder = Forgetful

    Suite.__test__ = False
    with pytest.raises(AssertionError, match="it differs at t"):
        Suite().test_a_builder_that_is_killed_goes_on_to_the_same_path()


class Returning(Builder):
    """A builder that returns what it is told to."""

    name = "returning"
    answer = None

    def build(self, a, b, task):
        return self.answer


class Aligning(Aligner):
    """An aligner that returns what it is told to."""

    name = "aligning"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def align(self, a, b, task):
        return self.answer(b)


class Saving(Builder):
    """A builder that saves what it is told to."""

    name = "saving"
    tensors, note = None, None

    def build(self, a, b, task):
        self.work.save(self.tensors, self.note)
        return Path.from_points([a, b])


@pytest.mark.parametrize("answer", [None, 3, "x", {}])
def test_a_builder_that_returns_no_path_is_named(answer, task, ends):
    builder = Returning()
    builder.answer = answer
    with pytest.raises(
        ConnectivityError, match=rf"builder returning: build\(\) returned a {type(answer).__name__}, exp"
    ):
        build(load_pair(*ends, task), task, builder)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dict, "a dict, expected a connectivity_hooks.contracts.Alignment"),
        (lambda b: None, "a NoneType, expected"),
        (lambda b: Alignment({}), "weights without .*, expected the names of the second checkpoint"),
        (lambda b: Alignment({**b, "more": torch.ones(1)}), "weights with more, expected the names"),
        (lambda b: Alignment(3), "a int as weights"),
        (lambda b: Alignment(dict.fromkeys(b, 3)), "a int as .*, expected a tensor"),
        (lambda b: Alignment({name: tensor[..., None] for name, tensor in b.items()}), ".*, expected .* float32"),
        (lambda b: Alignment({name: tensor.double() for name, tensor in b.items()}), ".* float64, expected .* float32"),
        (lambda b: Alignment(dict(b), {"x": object()}), "a record that is not of JSON-ready values"),
        (lambda b: Alignment(dict(b), {"x": float("nan")}), "a record that is not of JSON-ready values"),
    ],
)
def test_an_aligner_that_returns_no_alignment_is_named(answer, words, task, ends):
    with pytest.raises(ConnectivityError, match=rf"aligner aligning: align\(\) returned {words}") as fault:
        build(load_pair(*ends, task), task, Returning(), Aligning(answer))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("tensors", "note", "words"),
    [
        ({"x": 3}, None, "a int under 'x', expected tensors by name"),
        ({1: torch.ones(1)}, None, "a Tensor under 1, expected tensors by name"),
        (torch.ones(1), None, "a Tensor, expected tensors by name"),
        ({}, 3, "a int as its note, expected values by name"),
    ],
)
def test_a_builder_that_saves_no_state_is_named(tensors, note, words, task, ends, tmp_path):
    builder = Saving()
    builder.tensors, builder.note = tensors, note
    work = PairWork(tmp_path, "pair", {"ends": ["0", "1"]})
    with pytest.raises(ConnectivityError, match=rf"builder saving: work\.save\(\) was given {words}"):
        build(load_pair(*ends, task), task, builder, work=work)
