"""A model that labels positions: each position that has a label is a sample."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.checking import make_condition
from connectivity_hooks.features import Observation
from connectivity_hooks.tasks import IGNORED, LOSSES
from connectivity_hooks.tasks.loss.named import cross_entropy
from connectivity_hooks.tasks.loss.reading import Reading
from connectivity_hooks.watching.probe import read_probe
from connectivity_hooks_theorem.conditions.positions import answers_at_positions, features_at, own_loss_at

N, T, C = 20, 7, 4
CONDITIONS = ["dropout-stability", "feature-rank", "memorization", "separability", "subnetwork"]


class Tagger(nn.Module):
    """Gives (N, T, C), or (N, C, T); `summary` has no positions."""

    def __init__(self, *, classes_last=True):
        super().__init__()
        self.embed, self.body, self.act, self.head = (
            nn.Embedding(30, 12),
            nn.Linear(12, 16),
            nn.ReLU(),
            nn.Linear(16, C),
        )
        self.summary = nn.Linear(12, 5)
        self.classes_last = classes_last

    def forward(self, x):
        values = self.embed(x)
        self.summary(values.mean(1))
        outputs = self.head(self.act(self.body(values)))
        return outputs if self.classes_last else outputs.transpose(1, 2)


def tokens():
    return torch.randint(0, 30, (N, T), generator=torch.Generator().manual_seed(1))


def labels():
    """Return labels that a token alone decides, of which the last ones of every third sample do not count."""
    found = tokens() % C
    found[::3, -2:] = IGNORED
    return found


def observation(model=None, targets=None, layers=("embed", "body", "act"), loss=LOSSES["cross-entropy"]):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Tagger() if model is None else model
    split = read_probe([(tokens(), labels() if targets is None else targets)], N, seed=0)
    return Observation(made.eval(), split, loss, layers, batch_size=6)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_measures_every_layer(condition):
    found = list(make_condition(condition, seed=0).check(observation()))
    assert [verdict.layer for verdict in found] == ["embed", "body", "act"]
    assert all(verdict.holds is not None for verdict in found)


def test_each_row_is_the_feature_at_a_position_and_each_label_its_own():
    seen = observation()
    answers = answers_at_positions(seen, seed=0)
    counted = labels() != IGNORED
    assert answers.total == len(answers.targets) == int(counted.sum())
    assert torch.equal(answers.targets, labels()[counted])
    torch.testing.assert_close(features_at(seen, "embed", answers), seen.model.embed(tokens())[counted])
    wanted = F.cross_entropy(seen.model(tokens()).double()[counted], labels()[counted])
    assert own_loss_at(seen, answers) == pytest.approx(wanted.item(), rel=1e-6)


def test_classes_may_be_the_second_axis():
    plain, turned = (answers_at_positions(observation(Tagger(classes_last=last)), 0) for last in (True, False))
    assert torch.equal(plain.places, turned.places)
    assert (turned.lengths, turned.classes) == ((T,), C)


def test_what_a_token_alone_decides_is_separable_in_its_embedding_only_position_by_position():
    net = Tagger()
    with torch.no_grad():
        net.embed.weight.copy_(F.one_hot(torch.arange(30) % C, 12))
    (verdict,) = make_condition("separability", {"fraction": 1.0}, seed=0).check(observation(net, layers=("embed",)))
    assert verdict.holds
    assert verdict.details["samples"] == verdict.details["positions"] == int((labels() != IGNORED).sum())


def test_as_many_positions_are_drawn_as_there_are_samples_and_no_fewer_than_1024():
    many = tokens().repeat(30, 3)
    split = read_probe([(many, many % C)], len(many), seed=0)
    seen = Observation(Tagger().eval(), split, LOSSES["cross-entropy"], ("embed",), batch_size=100)
    answers, again, other = (answers_at_positions(seen, seed) for seed in (0, 0, 1))
    assert (len(answers.targets), answers.total) == (1024, many.numel())
    assert torch.equal(answers.places, again.places)
    assert not torch.equal(answers.places, other.places)


def test_layers_of_other_positions_are_named_and_the_others_measured():
    net = Tagger()
    net.act = nn.Sequential(nn.ReLU(), nn.Identity())
    found = {v.layer: v for v in make_condition("separability").check(observation(net, layers=("summary", "body")))}
    assert "its positions are not those of the outputs (7,)" in found["summary"].reason
    assert found["body"].holds is not None


def test_a_loss_of_the_next_position_pairs_each_feature_with_the_label_that_it_answers():
    seen = observation(loss=cross_entropy(Reading(shifted=True)))
    answers = answers_at_positions(seen, seed=0)
    counted = labels()[:, 1:] != IGNORED
    assert torch.equal(answers.targets, labels()[:, 1:][counted])
    torch.testing.assert_close(features_at(seen, "embed", answers), seen.model.embed(tokens())[:, :-1][counted])


def test_outputs_that_are_brought_to_the_size_of_the_labels_have_no_features_of_their_own():
    def fit(outputs, targets):
        return F.interpolate(outputs.transpose(1, 2), size=targets.shape[1], mode="linear"), targets

    seen = observation(targets=torch.zeros(N, 2 * T).long(), loss=dataclasses.replace(LOSSES["cross-entropy"], fit=fit))
    assert "are of other positions than outputs" in answers_at_positions(seen, seed=0)


def test_one_answer_a_sample_is_no_answer_at_positions():
    class Last(Tagger):
        def forward(self, x):
            return super().forward(x)[:, -1]

    assert answers_at_positions(observation(Last(), labels()[:, 0].clamp(min=0)), 0) is None
    assert answers_at_positions(observation(Tagger(), torch.zeros(N, T)), 0) is None
    assert "labels are all -100" in answers_at_positions(observation(targets=torch.full((N, T), IGNORED)), 0)
