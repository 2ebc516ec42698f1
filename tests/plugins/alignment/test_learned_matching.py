"""Learned matching: steps that keep the function exactly, a loss that falls, and runs that go on where they were."""

import json
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import State, make_options
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.structure import Element, Group, combined, folded, read_symmetries, task_program, transformed
from connectivity_hooks.tasks import IGNORED, CachedSplit, Task
from connectivity_hooks.testing import AlignerSuite
from connectivity_hooks_alignment.learned_matching import LearnedMatching
from connectivity_hooks_alignment.matching.by_learning.coordinates import (
    Exchanges,
    Mixtures,
    coordinates_of,
    is_exchanged,
)
from connectivity_hooks_alignment.matching.by_learning.learned import Descent, learn
from connectivity_hooks_alignment.matching.by_learning.line import Line
from connectivity_hooks_alignment.matching.by_learning.moves import Exchanging
from connectivity_hooks_alignment.matching.middle import middle_loss

CPU, CLASSES = torch.device("cpu"), 4


class TestLearnedMatching(AlignerSuite):
    aligner = LearnedMatching
    options = {"budget": "6steps"}  # noqa: RUF012


def vit():
    """A transformer of one block: O₁ on the stream, GL and O inside two heads, permutations of hidden neurons."""
    return timm.models.vision_transformer.VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=CLASSES, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2
    )


class Chain(nn.Module):
    """Matrices between two convolutions, factors of ReLU, an axis that is flattened, and signs of tanh."""

    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Conv2d(1, 4, 2), nn.Conv2d(4, 5, 2)
        self.norm, self.depthwise = nn.BatchNorm2d(5), nn.Conv2d(5, 5, 3, groups=5)
        self.deep, self.odd, self.head = nn.Linear(5 * 16, 7), nn.Linear(7, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.depthwise(F.relu(self.norm(self.conv(self.first(x))))).flatten(1)
        return self.head(torch.tanh(self.odd(F.relu(self.deep(x)))))


def data(count=96):
    """Images whose class is the quarter that is bright, so that two trainings agree on it."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, CLASSES, (count,), generator=generator)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    for image, number in zip(images, classes.tolist(), strict=True):
        image[0, 4 * (number // 2) : 4 * (number // 2) + 4, 4 * (number % 2) : 4 * (number % 2) + 4] += 1.5
    return images, classes


def task_of(network, **changes):
    images, classes = data()
    split = CachedSplit("train", images.to(changes.get("dtype")), classes)
    test = CachedSplit("test", split.inputs.flip(0), classes.flip(0))
    return replace(Task(network, split, test, batch_size=48), **changes)


def trained(task, seed, steps=60):
    """Return weights after a short training, in the task's type."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = task.factory().train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for epoch in range(steps // 3):
            for _, inputs, targets in CachedSplit("train", *data()).shuffled(32, seed, epoch=epoch):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
    state = model.state_dict()
    return {name: t.detach().clone().to(task.dtype) if t.is_floating_point() else t for name, t in state.items()}


def stirred(symmetries, line, dtype=torch.float64):
    """Return coordinates that are anywhere but at the start."""
    exchanged = [each.space for each in symmetries.symmetries if is_exchanged(each)]
    found = coordinates_of(
        symmetries, {space: line.products(space) for space in exchanged}, torch.zeros((), dtype=dtype)
    )
    generator = torch.Generator().manual_seed(3)
    for each in found:
        for tensor in each.parameters.values():
            tensor += 0.2 * torch.randn(tensor.shape, generator=generator, dtype=dtype)
    return found


def moves_of(coordinates):
    return {space: move for each in coordinates for space, move in each.moves(0).items()}


def elements_of(coordinates):
    return {space: element for each in coordinates for space, element in each.elements().items()}


@pytest.mark.parametrize("network", [vit, Chain])
def test_the_line_of_a_step_is_the_line_to_the_checkpoint_that_is_made_of_it(network):
    task = task_of(network, dtype=torch.float64)
    a, b = trained(task, 1), trained(task, 2)
    symmetries = read_symmetries(task_program(task))
    start = elements_of(stirred(symmetries, Line(symmetries, b, a, {}, CPU, torch.float64)))
    line = Line(symmetries, a, b, start, CPU, torch.float64)
    coordinates = stirred(symmetries, line)
    with torch.no_grad():
        point = line.at(moves_of(coordinates), 0.4)
    made = transformed(symmetries, b, combined(symmetries, start, elements_of(coordinates)), like=a)
    between = {name: a[name].lerp(made[name], 0.4) if a[name].is_floating_point() else a[name] for name in a}
    inputs = data(8)[0].double()
    model = task.model()
    expected = task.forward.under(model, between, inputs)
    torch.testing.assert_close(task.forward.under(model, point.weights, inputs), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("network", [vit, Chain])
def test_elements_are_of_their_groups_and_keep_the_function(network):
    task = task_of(network, dtype=torch.float64)
    a, b = trained(task, 1), trained(task, 2)
    symmetries = read_symmetries(task_program(task))
    elements = elements_of(stirred(symmetries, Line(symmetries, a, b, {}, CPU, torch.float32), torch.float32))
    groups = set()
    for symmetry in symmetries.symmetries:
        if symmetry.space not in elements:
            continue
        matrix = elements[symmetry.space].dense()
        eye = torch.eye(symmetry.width, dtype=torch.float64)
        groups.add(symmetry.title.split()[0])
        if is_exchanged(symmetry):
            assert torch.equal((matrix != 0).sum(-1), torch.ones(matrix.shape[:2], dtype=torch.long))
            assert Group.FLIP in symmetry.group or bool((matrix >= 0).all())
        elif Group.MIX not in symmetry.group:
            torch.testing.assert_close(matrix @ matrix.mT, eye.expand_as(matrix), rtol=0, atol=1e-13)
        if symmetry.title == "O₁":
            torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:2], dtype=torch.float64))
    assert groups == ({"O₁", "O", "GL", "S"} if network is vit else {"GL", "S±", "Mon₊"})
    made = transformed(symmetries, b, elements, like=a)
    model, inputs = task.model(), data(8)[0].double()
    expected = task.forward.under(model, b, inputs)
    torch.testing.assert_close(task.forward.under(model, made, inputs), expected, rtol=1e-10, atol=1e-10)
    assert any(not torch.equal(made[name], b[name]) for name in b)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("part", ["writes", "reads", "beside"])
def test_scores_get_the_gradients_of_a_dense_matrix(axis, part):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    order, signs = torch.tensor([[2, 0, 3, 1]]), torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    weight = torch.randn(4, 4, 4, generator=generator, dtype=torch.float64)
    dense = torch.eye(4, dtype=torch.float64)[order[0]] * (signs[0][:, None] if part != "beside" else 1)
    dense.requires_grad_()
    by_hand = torch.tensordot(dense, weight.movedim(axis, 0), 1).movedim(0, axis)
    coefficients = torch.randn(4, 4, 4, generator=generator, dtype=torch.float64)
    (by_hand * coefficients).sum().backward()
    of_axis, of_rows = (scores.clone().requires_grad_() for _ in range(2))
    along = Exchanging(of_axis, order, signs, None).on_axis(weight, axis, part)
    rows = weight.movedim(axis, 0).reshape(1, 4, 16)
    beside = Exchanging(of_rows, order, signs, None).on_rows(rows, part).reshape(4, 4, 4).movedim(0, axis)
    torch.testing.assert_close(along, by_hand.detach())
    torch.testing.assert_close(beside, by_hand.detach())
    (along * coefficients).sum().backward()
    (beside * coefficients).sum().backward()
    torch.testing.assert_close(of_axis.grad[0], dense.grad)
    torch.testing.assert_close(of_rows.grad[0], dense.grad)


def test_gradients_are_those_of_differences():
    task = task_of(vit, dtype=torch.float64)
    a, b = trained(task, 1), trained(task, 2)
    symmetries = read_symmetries(task_program(task))
    line = Line(symmetries, a, b, {}, CPU, torch.float64)
    coordinates = [each for each in stirred(symmetries, line) if not isinstance(each, Exchanges)]
    model, (inputs, classes) = task.model(), data(8)
    generator = torch.Generator().manual_seed(1)
    ways = [{name: torch.randn_like(t) for name, t in each.parameters.items()} for each in coordinates]
    ways = [{n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in way.items()} for way in ways]

    def loss_at(distance):
        for each, way in zip(coordinates, ways, strict=True):
            for name in way:
                each.parameters[name] = (each.parameters[name].detach() + distance * way[name]).requires_grad_()
        point = line.at(moves_of(coordinates), 0.5)
        return point, task.loss(task.forward.under(model, point.weights, inputs.double()), classes)

    point, loss = loss_at(0.0)
    point.backward(loss)
    slope = sum(
        float((each.parameters[name].grad * way[name]).sum())
        for each, way in zip(coordinates, ways, strict=True)
        for name in way
    )
    ahead, behind = (float(loss_at(distance)[1].detach()) for distance in (1e-5, -2e-5))
    assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-5)


def test_the_loss_half_way_falls_and_is_told():
    task = task_of(vit)
    a, b = trained(task, 1, 150), trained(task, 2, 150)
    found = LearnedMatching(make_options(LearnedMatching.Options, {"budget": "60steps"}, "learned-matching")).align(
        a, b, task
    )
    record, train = found.record, found.record["middle"]["train"]
    assert record["kept"] == "learned"
    assert train["after"] < 0.8 * train["before"]
    assert train["before"] <= train["plain"]
    assert train["after"] == middle_loss(a, found.weights, task, task.train)
    assert record["middle"]["test"].keys() == train.keys()
    assert (record["steps"], record["stopped"], len(record["losses"])) == (60, "", 3)
    json.dumps(dict(record), allow_nan=False)


class Kept:
    """Work in memory that ends the run after some saves."""

    def __init__(self, saves):
        self.saves, self.state = saves, None

    def load(self):
        return self.state

    def due(self):
        return True

    def save(self, tensors, note=None):
        self.state = State({name: t.clone() for name, t in tensors.items()}, json.loads(json.dumps(note)))
        self.saves -= 1
        if self.saves == 0:
            raise KeyboardInterrupt


def noisy(x):
    return x + 0.1 * torch.randn(x.shape)


@pytest.mark.parametrize("network", [vit, Chain])
@pytest.mark.parametrize("killed_after", [1, 23])
def test_a_run_that_was_killed_goes_on_to_the_same_elements_bit_for_bit(network, killed_after):
    task = task_of(network, augment=noisy)
    a, b = trained(task, 1, 6), trained(task, 2, 6)
    symmetries = read_symmetries(task_program(task))

    def run(work):
        # 2 batches an epoch: killed inside of one, and between an assignment and the next.
        return learn(symmetries, a, b, task, {}, budget=Budget.parse("31steps"), seed=5, work=work)

    whole, work = run(Kept(-1)), Kept(killed_after)
    with pytest.raises(KeyboardInterrupt):
        run(work)
    again = run(work)
    assert (again.steps, again.losses) == (31, whole.losses)
    for space, element in whole.elements.items():
        for one, other in zip(vars(element).values(), vars(again.elements[space]).values(), strict=True):
            assert one is other is None or torch.equal(one, other)


def test_heads_stay_paired_and_the_start_is_part_of_what_is_found():
    task = task_of(vit)
    a, b = trained(task, 1, 6), trained(task, 2, 6)
    symmetries = read_symmetries(task_program(task))
    (heads,) = {each.outer for each in symmetries.symmetries if each.outer is not None}
    start = {heads: Element(order=torch.tensor([[1, 0]]))}
    found = learn(symmetries, a, b, task, start, budget=Budget(2, "steps"))
    assert torch.equal(found.elements[heads].order, start[heads].order)
    assert len(found.elements) == len(symmetries.symmetries)


def infinite_from(step):
    """A loss that is infinite from some step on, counted by its calls."""
    calls = []

    def scalar(outputs, targets):
        calls.append(1)
        return F.cross_entropy(outputs, targets) + (torch.inf if len(calls) > step else 0.0)

    return scalar


def test_a_loss_that_is_not_finite_ends_it_and_says_where():
    task = task_of(vit)
    a, b = trained(task, 1, 6), trained(task, 2, 6)
    symmetries = read_symmetries(task_program(task))
    bad = replace(task, loss=replace(task.loss, scalar=infinite_from(30)))
    found = learn(symmetries, a, b, bad, {}, budget=Budget(50, "steps"))
    assert found.stopped.startswith("the loss is inf at step 30, λ = 0.")
    assert (found.steps, len(found.losses)) == (30, 1)
    best = learn(
        symmetries,
        a,
        b,
        replace(task, loss=replace(task.loss, scalar=infinite_from(20))),
        {},
        budget=Budget(50, "steps"),
    )
    for space, element in best.elements.items():
        assert torch.equal(element.dense(), found.elements[space].dense()), "not what the last whole window ended with"


class Steep(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf


def test_a_gradient_that_is_not_finite_ends_it_before_it_is_used():
    task = task_of(vit)
    a, b = trained(task, 1, 3), trained(task, 2, 3)
    symmetries = read_symmetries(task_program(task))
    steep = replace(task.loss, scalar=lambda outputs, targets: F.cross_entropy(Steep.apply(outputs), targets))
    found = learn(symmetries, a, b, replace(task, loss=steep), {}, budget=Budget(5, "steps"))
    assert found.stopped.startswith("a gradient is not finite at step 0, λ = 0.")
    assert all(element.dense().isfinite().all() for element in found.elements.values())


def test_matrices_keep_an_inverse():
    task = task_of(vit)
    (symmetry,) = [each for each in read_symmetries(task_program(task)).symmetries if Group.MIX in each.group]
    found = Mixtures([symmetry], torch.zeros(()))
    found.parameters["matrix"][0, 0, 0, 0] = -1.0  # 1 + M is singular
    assert not found.moves(0)[symmetry.space].on_rows(torch.eye(symmetry.width)[None], "reads").isfinite().all()
    sizes = torch.linalg.svdvals(found.elements()[symmetry.space].matrix)
    torch.testing.assert_close(sizes[0], torch.tensor([*[1.0] * (symmetry.width - 1), 0.01], dtype=torch.float64))
    torch.testing.assert_close(sizes[1], torch.ones(symmetry.width, dtype=torch.float64))


def test_batches_of_which_nothing_counts_are_left_out():
    task = task_of(vit)
    a, b = trained(task, 1, 6), trained(task, 2, 6)
    images, classes = data()
    classes = classes.clone()
    classes[: len(classes) - 3] = IGNORED
    sparse = replace(task, train=CachedSplit("train", images, classes))
    symmetries = read_symmetries(task_program(task))
    found = learn(symmetries, a, b, sparse, {}, budget=Budget(24, "steps"), descent=Descent(batch_size=8))
    assert (found.steps, found.stopped) == (24, "")
    assert all(element.dense().isfinite().all() for element in found.elements.values())


class CutOff(nn.Module):
    """A network whose outputs have no gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(64, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(F.relu(self.first(x.flatten(1)))).detach()


def test_a_model_without_gradients_is_refused_in_one_line():
    task = task_of(CutOff)
    a, b = ({name: t.clone() for name, t in CutOff().state_dict().items()} for _ in range(2))
    with pytest.raises(
        InputError, match=r"learned-matching: the model has no gradients: .*detach; align by weights"
    ) as refused:
        LearnedMatching().align(a, b, task)
    assert "\n" not in str(refused.value)


def test_a_time_ends_it():
    task = task_of(Chain)
    a, b = trained(task, 1, 3), trained(task, 2, 3)
    symmetries = read_symmetries(task_program(task))
    found = learn(symmetries, a, b, task, {}, budget=Budget.parse("0.2s"))
    assert found.steps > 0


def test_a_budget_in_epochs_takes_every_sample_as_often():
    task = task_of(Chain)
    a, b = trained(task, 1, 3), trained(task, 2, 3)
    symmetries = read_symmetries(task_program(task))
    found = learn(symmetries, a, b, task, {}, budget=Budget.parse("3epochs"), descent=Descent(batch_size=40))
    assert found.steps == 9


def test_a_start_that_is_better_is_kept_and_said(capsys):
    task = task_of(vit)
    a = trained(task, 1)
    said = []

    class Heard:
        def track(self, items, label, total=None):
            yield from items

        def say(self, message):
            said.append(message)

    method = LearnedMatching(LearnedMatching.Options(budget="4steps", rate=1.0), progress=Heard())
    found = method.align(a, dict(a), task)
    assert found.record["kept"] == found.record["start"] != "learned"
    assert any("did not fall" in line for line in said)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in a.items())


@pytest.mark.parametrize("budget", ["soon", "0steps", "5"])
def test_a_budget_that_is_none_is_refused_at_once(budget):
    with pytest.raises(UsageError, match=r"--learned-matching\.budget: expected a budget"):
        make_options(LearnedMatching.Options, {"budget": budget}, "learned-matching")


def test_wide_permutations_are_solved_for_more_seldom_and_what_is_in_use_is_kept():
    widths = {512: 4, 1024: 16}
    for width, every in widths.items():
        symmetry = read_symmetries(task_program(task_of(lambda width=width: Wide(width)))).symmetries[0]
        found = Exchanges([symmetry], [torch.eye(width)[None]], torch.zeros(()))
        found.parameters["scores"] = found.parameters["scores"].roll(1, -1)
        before = found.kept()["order"].clone()
        found.moves(every - 1)
        assert torch.equal(found.kept()["order"], before)
        found.moves(every)
        assert torch.equal(found.kept()["order"], found.elements()[symmetry.space].order[None])
        assert not torch.equal(found.kept()["order"], before)


class Wide(nn.Module):
    """One hidden layer."""

    def __init__(self, width):
        super().__init__()
        self.first, self.head = nn.Linear(64, width), nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.head(F.gelu(self.first(x.flatten(1))))


def test_folded_ends_are_left_alone():
    task = task_of(vit, dtype=torch.float64)
    a, b = trained(task, 1, 3), trained(task, 2, 3)
    kept = {name: t.clone() for name, t in (*a.items(), *(("b." + n, t) for n, t in b.items()))}
    symmetries = read_symmetries(task_program(task))
    line = Line(symmetries, a, b, {}, CPU, torch.float64)
    before = {name: t.clone() for name, t in folded(symmetries, a).items()}
    line.at(moves_of(stirred(symmetries, line)), 0.5)
    assert all(torch.equal(kept[name], t) for name, t in a.items())
    assert all(torch.equal(kept["b." + name], t) for name, t in b.items())
    assert all(torch.equal(before[name], t) for name, t in folded(symmetries, a).items())
