"""Weight matching as an aligner."""

from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks_alignment.weight_matching import WeightMatching


class TestWeightMatching(AlignerSuite):
    aligner = WeightMatching
