"""Goals: what is learnt, how it is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from connectivity_hooks.tasks import LOSSES, custom_loss
from connectivity_hooks_theorem.certified.search.goal import Goal

LABELS = torch.tensor([0, 2, 1, 2])
OUTPUTS = torch.tensor([[2.0, 1.0, 0.0], [3.0, 0.5, 0.1], [0.0, 4.0, 1.0], [0.0, 1.0, 5.0]])  # the second is wrong
GOAL = Goal(LABELS, LOSSES["cross-entropy"], 3, OUTPUTS, 0.1)
REAL = Goal(OUTPUTS, LOSSES["mse"], 3, OUTPUTS + 1, 0.1)


def test_classifiers_imitate_outputs_up_to_a_shift_of_all_classes():
    assert GOAL.classifies
    assert GOAL.imitates
    wished = GOAL.wished()
    torch.testing.assert_close(wished.softmax(1), OUTPUTS.softmax(1))
    torch.testing.assert_close(wished.sum(1), torch.zeros(4))


def test_without_outputs_targets_are_learnt():
    alone = replace(GOAL, outputs=None)
    assert alone.classifies
    assert not alone.imitates
    assert alone.wished().tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert replace(REAL, outputs=None).wished() is OUTPUTS


def test_other_losses_wish_for_the_outputs_as_they_are():
    assert not REAL.classifies
    assert not REAL.imitates
    assert REAL.wished().equal(OUTPUTS + 1)
    assert not replace(GOAL, targets=OUTPUTS.softmax(1)).classifies  # probabilities
    assert not replace(GOAL, targets=LABELS[:, None]).classifies  # a label at each position


def test_losses_are_measured_in_float64():
    outputs = 30 * OUTPUTS[[0, 2, 3]]
    goal = replace(GOAL, targets=LABELS[[0, 2, 3]])
    exact = outputs.double().numpy()
    own = exact[np.arange(3), goal.targets.numpy()]
    wanted = np.mean(logsumexp(exact - own[:, None], axis=1))
    assert goal.measure(outputs) == pytest.approx(wanted, rel=1e-9)
    assert 0 < wanted < 1e-8  # float32 would say 0


def test_errors_are_a_share_and_rise_above_those_of_what_is_imitated():
    assert GOAL.errors(OUTPUTS) == 0.25
    assert GOAL.rise(0.75) == 0.5
    assert replace(GOAL, outputs=None).rise(0.75) == 0.75
    assert REAL.errors(OUTPUTS) is None
    assert REAL.rise(None) == 0.0


def test_a_goal_on_some_samples_has_theirs_alone():
    part = GOAL.of(slice(1, 3))
    assert part.targets.tolist() == [2, 1]
    assert part.outputs.equal(OUTPUTS[1:3])
    assert part.target == GOAL.target
    assert replace(GOAL, outputs=None).of(slice(2)).outputs is None


def own(outputs, targets):
    return (outputs - outputs.mean(1, keepdim=True)).square().mean(1)


OWN = custom_loss("own", own, convex=True)


@pytest.mark.parametrize(
    ("loss", "targets", "classes", "expected"),
    [
        (OWN, torch.tensor([0, 2, 1]), 3, [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),  # labels
        (OWN, torch.tensor([[0], [2], [1]]), 3, [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        (OWN, torch.tensor([0, 5, 1]), 3, [[0, 0, 0]] * 3),  # what cannot be labels
        (OWN, torch.tensor([0, -100, 1]), 3, [[0, 0, 0]] * 3),
        (OWN, torch.tensor([0.5, 1, 2]), 3, [[0, 0, 0]] * 3),
        (OWN, torch.ones(3, 2, 2), 3, [[0, 0, 0]] * 3),
        (OWN, torch.tensor([0, 2, 1]), 1, [[0], [2], [1]]),
        (LOSSES["mse"], torch.tensor([0.5, 1, 2]), 1, [[0.5], [1], [2]]),
        (LOSSES["bce"], torch.tensor([[True], [False], [True]]), 1, [[1], [0], [1]]),
    ],
)
def test_what_is_learnt_without_outputs_has_their_shape(loss, targets, classes, expected):
    found = Goal(targets, loss, classes, None, 0.1).wished()
    assert found.dtype == torch.float32
    assert found.tolist() == expected
