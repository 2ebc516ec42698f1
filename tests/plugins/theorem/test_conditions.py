"""The conditions on networks whose answers are known."""

import pytest
import torch
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks import CachedSplit, Task

N = 240


class Known(nn.Module):
    """Layers whose features are, in turn: separable, noise, of rank 2, NaN, and never computed."""

    def __init__(self):
        super().__init__()
        self.separable, self.noise, self.flat = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.broken, self.silent, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        with torch.no_grad():
            self.flat.weight[2:] = self.flat.weight[:1]

    def forward(self, x):
        self.separable(x)
        self.noise(torch.sin(1e4 * x))
        self.flat(x)
        return self.head(x + 0 * self.broken(x * torch.inf).nan_to_num())


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 12, generator=generator)
    y = torch.arange(N) % 3
    x[torch.arange(N), y] += 30
    return Task(Known, CachedSplit("train", x, y))


def found(task, condition, layers, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Known().eval()
    return {verdict.layer: verdict for verdict in ch.check(model, task, condition, layers=layers, options=options)}


def test_separability_tells_separable_features_from_noise(task):
    verdicts = found(task, "separability", ["separable", "noise"], drop=2)
    assert verdicts["separable"].status == "holds"
    assert verdicts["separable"].details["margin"] > 0
    assert verdicts["noise"].status == "fails"
    assert verdicts["noise"].measured > N / 4
    assert verdicts["separable"].details["kept"] == 10


def test_separability_never_says_that_nan_or_silent_features_hold(task):
    verdicts = found(task, "separability", ["broken", "silent"])
    assert {name: verdict.status for name, verdict in verdicts.items()} == {
        "broken": "invalid",
        "silent": "invalid",
    }
    assert "NaN" in verdicts["broken"].reason
    assert "never fired" in verdicts["silent"].reason


def test_separability_wants_classes(task):
    targets = torch.randn(N, 3)
    with pytest.raises(InputError, match="not class labels"):
        found(Task(Known, CachedSplit("train", task.train.inputs, targets)), "separability", ["noise"])


def test_one_seed_gives_one_answer(task):
    assert found(task, "separability", ["noise"]) == found(task, "separability", ["noise"])


def test_feature_rank_finds_the_rank(task):
    verdicts = found(task, "feature-rank", ["separable", "flat", "broken", "silent"])
    assert verdicts["separable"].details["rank"] == 12
    assert verdicts["flat"].details["rank"] == 2
    assert verdicts["flat"].status == "fails"
    assert {verdicts[name].status for name in ("broken", "silent")} == {"invalid"}


def test_an_unknown_option_is_refused_with_near_matches(task):
    with pytest.raises(UsageError, match="no option 'fractoin'; did you mean 'fraction'"):
        found(task, "separability", ["noise"], fractoin=0.5)
