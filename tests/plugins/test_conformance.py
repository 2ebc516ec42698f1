"""The built-in methods pass the suites that strangers' methods pass."""

import pytest
import torch

from connectivity_hooks.contracts import Prepared
from connectivity_hooks.errors import InputError
from connectivity_hooks.registry import registry
from connectivity_hooks.testing import AdapterSuite, AlignerSuite, BuilderSuite, ConditionSuite, CorrectionSuite
from connectivity_hooks_alignment.activation_matching import ActivationMatching
from connectivity_hooks_alignment.best import Best
from connectivity_hooks_alignment.learned_matching import LearnedMatching
from connectivity_hooks_alignment.weight_matching import WeightMatching
from connectivity_hooks_corrections.batch_norm import BatchNorm
from connectivity_hooks_corrections.repair import Repair
from connectivity_hooks_curves.autoneb.builder import AutoNEB
from connectivity_hooks_curves.bezier import Bezier, Polychain
from connectivity_hooks_curves.layerwise.builder import Layerwise
from connectivity_hooks_curves.linear import Linear
from connectivity_hooks_curves.simplex.builder import Simplex
from connectivity_hooks_peft.adapter import PeftAdapter
from connectivity_hooks_theorem.certified.builder import Certified
from connectivity_hooks_theorem.conditions.dropout_stability import DropoutStability
from connectivity_hooks_theorem.conditions.feature_rank import FeatureRank
from connectivity_hooks_theorem.conditions.memorization import Memorization
from connectivity_hooks_theorem.conditions.separability import Separability
from connectivity_hooks_theorem.conditions.subnetwork import SubnetworkCondition
from connectivity_hooks_timm.adapter import TimmAdapter
from connectivity_hooks_transformers.adapter import TransformersAdapter


class TestLinear(BuilderSuite):
    builder = Linear


class TestBatchNorm(CorrectionSuite):
    correction = BatchNorm


class TestRepair(CorrectionSuite):
    correction = Repair


class TestSeparability(ConditionSuite):
    condition = Separability


class TestFeatureRank(ConditionSuite):
    condition = FeatureRank


class TestDropoutStability(ConditionSuite):
    condition = DropoutStability


class TestSubnetwork(ConditionSuite):
    condition = SubnetworkCondition


class TestMemorization(ConditionSuite):
    condition = Memorization


class TestWeightMatching(AlignerSuite):
    aligner = WeightMatching


class TestTimm(AdapterSuite):
    adapter = TimmAdapter
    name = "resnet18"
    arguments = {"num_classes": 5}  # noqa: RUF012
    shape = (3, 32, 32)


def test_every_built_in_method_is_in_a_suite():
    conditions = {TestSeparability, TestFeatureRank, TestDropoutStability, TestSubnetwork, TestMemorization}
    aligners = {WeightMatching, ActivationMatching, LearnedMatching, Best}  # their suites are in alignment/
    tried = {*aligners, Certified, TestLinear.builder, TestTimm.adapter, *(suite.condition for suite in conditions)}
    tried |= {Bezier, Polychain, AutoNEB, Layerwise, Simplex}  # their suites are in curves/
    tried |= {TransformersAdapter, PeftAdapter}  # their suites are in tests/integrations/
    known = registry()
    ours = [e for kind in ("builders", "conditions", "aligners", "adapters") for e in getattr(known, kind).values()]
    assert {entry.cls for entry in ours if entry.origin.distribution == "connectivity-hooks"} == tried


def lying_linear():
    class Lying(Linear):
        """A line that claims to be constant."""

        def build(self, a, b, task):
            from dataclasses import replace

            return replace(super().build(a, b, task), guarantees=("constant",))

    return Lying


def test_the_suite_catches_a_false_guarantee():
    suite = type("Suite", (BuilderSuite,), {"builder": lying_linear()})()
    with pytest.raises(AssertionError, match="segment 0 is not constant"):
        suite.test_guarantees_are_true()


def test_the_suite_catches_a_builder_that_moves_an_end():
    class Moving(Linear):
        """A line that starts elsewhere."""

        def build(self, a, b, task):
            return super().build({**a, "head.bias": a["head.bias"] + 1e-7}, b, task)

    suite = type("Suite", (BuilderSuite,), {"builder": Moving})()
    with pytest.raises(AssertionError, match=r"head\.bias differs at t = 0"):
        suite.test_the_path_keeps_its_ends_bit_for_bit()


def suite_of(apply, **attributes):
    """Return the suite of a correction that does `apply(model, t)`."""

    class Does(Prepared):
        def __init__(self, moving):
            self.model = moving.model

        def apply(self, t):
            apply(self.model, t)

    class Made(BatchNorm):
        """A correction."""

        def prepare(self, moving):
            return Does(moving)

    correction = type("Made", (Made,), {"__doc__": Made.__doc__, **attributes})
    return type("Suite", (CorrectionSuite,), {"correction": correction})()


def test_the_suite_catches_a_correction_that_leaves_a_hook():
    suite = suite_of(lambda model, t: model.norm.register_forward_hook(print))
    with pytest.raises(InputError, match="its hooks: _forward_hooks"):
        suite.test_nothing_is_left_behind()


def test_the_suite_catches_a_correction_that_leaves_a_module_in_training():
    suite = suite_of(lambda model, t: model.norm.train())
    with pytest.raises(InputError, match="norm, its attribute training"):
        suite.test_nothing_is_left_behind()


def test_the_suite_catches_a_correction_that_asks_the_global_generator():
    suite = suite_of(lambda model, t: model.head.bias.data.add_(torch.rand(3)))
    with pytest.raises(AssertionError, match="depends on what was corrected before"):
        suite.test_one_seed_gives_one_answer_at_each_t()
    with pytest.raises(AssertionError, match="torch's generator changed"):
        suite.test_nothing_is_left_behind()


def test_the_suite_catches_a_correction_that_counts():
    suite = suite_of(lambda model, t: model.norm.num_batches_tracked.add_(1))
    with pytest.raises(AssertionError, match=r"num_batches_tracked is an integer and changed at t = 0\.0"):
        suite.test_names_shapes_and_types_are_kept()


def test_the_suite_catches_a_correction_that_goes_by_t_and_says_by_the_weights():
    suite = suite_of(lambda model, t: model.head.bias.data.add_(t), by_weights_alone=True)
    with pytest.raises(AssertionError, match="depends on t"):
        suite.test_what_goes_by_the_weights_alone_asks_for_no_t()
    suite_of(
        lambda model, t: model.head.bias.data.add_(1), by_weights_alone=True
    ).test_what_goes_by_the_weights_alone_asks_for_no_t()


def test_the_core_keeps_the_ends_of_a_correction_that_says_so():
    suite = suite_of(lambda model, t: model.head.bias.data.add_(1), everywhere=False)
    suite.test_ends_are_kept_or_it_is_said()


def test_the_suite_catches_an_adapter_that_does_not_read_what_it_stores():
    class Forgetful(TimmAdapter):
        """Stores a bias less."""

        def stored(self, model, weights):
            return {name: tensor for name, tensor in weights.items() if name != "fc.bias"}

    suite = type("Suite", (TestTimm,), {"adapter": Forgetful})()
    with pytest.raises(AssertionError, match=r"fc\.bias is not read back"):
        suite.test_what_it_stores_is_read_back()
