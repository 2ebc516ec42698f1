"""The suite of aligners passes one that does its work, and catches every one that lies."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from connectivity_hooks.contracts import Aligner, Alignment
from connectivity_hooks.structure import read_spaces, task_program
from connectivity_hooks.testing import AlignerSuite


class Matching(Aligner):
    """Exchanges the neurons of one space at a time for the least distance."""

    name = "matching"

    def align(self, a, b, task):
        spaces, record = read_spaces(task_program(task)), {}
        for space in spaces.free * 2:
            gain = sum(self.rows(a, axis) @ self.rows(b, axis).T for axis in spaces.axes_of(space))
            order = torch.as_tensor(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            b = spaces.permuted(b, {space: order})
            record[str(space)] = order.tolist()
        return Alignment(b, record)

    def rows(self, weights, axis):
        return (
            weights[axis.weight].double().movedim(axis.number, 0).flatten(1)
            if weights[axis.weight].ndim > 1
            else (weights[axis.weight].double()[:, None])
        )


class TestMatching(AlignerSuite):
    aligner = Matching


class Liar(Aligner):
    """An aligner that breaks its contract."""

    name = "liar"


class ScalesWeights(Liar):
    def align(self, a, b, task):
        return Alignment({name: w * 1.01 if w.is_floating_point() else w for name, w in b.items()})


class ForgetsAnAxis(Liar):
    def align(self, a, b, task):
        return Alignment({**Matching().align(a, b, task).weights, "head.weight": b["head.weight"]})


class ReturnsTheFirst(Liar):
    def align(self, a, b, task):
        return Alignment(a)


class ModifiesAnEnd(Liar):
    def align(self, a, b, task):
        b["first.weight"].mul_(2)
        return Alignment(b)


class Idle(Liar):
    def align(self, a, b, task):
        return Alignment(dict(b))


class Shuffles(Liar):
    generator = torch.Generator().manual_seed(0)

    def align(self, a, b, task):
        spaces = read_spaces(task_program(task))
        widths = {each: spaces.spaces[each].width for each in spaces.free}
        order = {each: torch.randperm(width, generator=self.generator) for each, width in widths.items()}
        return Alignment(spaces.permuted(b, order))


class GlobalRandomState(Liar):
    def align(self, a, b, task):
        torch.rand(())
        return Matching().align(a, b, task)


class Farther(Liar):
    def align(self, a, b, task):
        flipped = Matching().align({name: -w for name, w in a.items()}, b, task)
        return Alignment(flipped.weights)


class RecordOfTensors(Liar):
    def align(self, a, b, task):
        return Alignment(Matching().align(a, b, task).weights, {"order": torch.arange(3)})


class RecordOfNan(Liar):
    def align(self, a, b, task):
        return Alignment(Matching().align(a, b, task).weights, {"distance": float("nan")})


class LosesABuffer(Liar):
    def align(self, a, b, task):
        return Alignment({name: w for name, w in b.items() if name != "norm.num_batches_tracked"})


class OtherType(Liar):
    def align(self, a, b, task):
        return Alignment({name: w.double() if w.is_floating_point() else w for name, w in b.items()})


CAUGHT = {
    ScalesWeights: "test_the_function_is_kept",
    ForgetsAnAxis: "test_the_function_is_kept",
    ReturnsTheFirst: "test_the_function_is_kept",
    ModifiesAnEnd: "test_neither_end_is_modified",
    Idle: "test_a_copy_with_exchanged_neurons_comes_nearer",
    Shuffles: "test_one_seed_gives_one_alignment",
    GlobalRandomState: "test_neither_end_is_modified",
    Farther: "test_the_distance_does_not_grow",
    RecordOfTensors: "test_the_record_is_json_ready",
    RecordOfNan: "test_the_record_is_json_ready",
    LosesABuffer: "test_names_shapes_and_types_are_kept",
    OtherType: "test_names_shapes_and_types_are_kept",
}


@pytest.mark.parametrize("liar", CAUGHT)
def test_every_lie_is_caught_by_the_test_that_is_for_it(liar):
    suite = type("Suite", (AlignerSuite,), {"aligner": liar})()
    with pytest.raises(AssertionError):
        getattr(suite, CAUGHT[liar])()


def test_an_aligner_of_other_symmetries_need_not_exchange_neurons():
    type(
        "Suite", (AlignerSuite,), {"aligner": Idle, "exchanges": False}
    )().test_a_copy_with_exchanged_neurons_comes_nearer()
