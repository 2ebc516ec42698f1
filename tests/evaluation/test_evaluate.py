"""Evaluation against a plain float64 reference that swaps nothing, caches nothing and loads a fresh module per t."""

import copy

import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from connectivity_hooks.errors import UsageError
from connectivity_hooks.evaluation import Measuring, evaluate
from connectivity_hooks.evaluation.evaluate import measure_part
from connectivity_hooks.paths import Path
from connectivity_hooks.tasks.loss import custom_loss
from connectivity_hooks.tasks.telling import telling

N = 110


def reference(setting, weights, part=slice(0, N)):
    net = setting.task.factory().double().eval()
    net.load_state_dict({name: w.double() if w.is_floating_point() else w for name, w in weights.items()})
    with torch.no_grad():
        outputs = net(setting.x[part].double())
    losses = cross_entropy(outputs, setting.y[part], reduction="none")
    return losses, (outputs.argmax(1) != setting.y[part]).double()


def half_width(values):
    """Return the half-width of Student's 95 % interval of a mean."""
    return scipy.stats.t.ppf(0.975, len(values) - 1) * values.std().item() / len(values) ** 0.5


def half_width_of_counts(values):
    """Return the same with two more samples, one that got better and one that got worse."""
    more = torch.cat([values, torch.tensor([1.0, -1.0], dtype=values.dtype)])
    return scipy.stats.t.ppf(0.975, len(more) - 1) * more.std(correction=0).item() / len(more) ** 0.5


def half_above_both(values, ends, half_of):
    """Return the half-width of what is above the worse end, reaching down to the lower limit above either."""
    above = [values - end for end in ends]
    least = min(each.mean().item() - half_of(each) for each in above)
    height = min(each.mean().item() for each in above)
    return max(height - least, half_of(min(above, key=torch.mean)))


def between(a, b, t):
    return {k: (1 - t) * a[k].double() + t * b[k].double() if a[k].is_floating_point() else a[k] for k in a}


def test_every_figure_of_a_linear_path_agrees_with_the_reference(setting):
    a, b = setting.weights(1), setting.weights(2)
    evaluation = evaluate(Path.from_points([a, b]), setting.task, points=9, refine=2)
    for name, part in (("train", slice(0, N)), ("test", slice(N, None))):
        ends = [reference(setting, weights, part) for weights in (a, b)]
        for point in evaluation.curves[name]:
            losses, errors = reference(setting, between(a, b, point.t), part)
            excess = losses - (1 - point.t) * ends[0][0] - point.t * ends[1][0]
            assert point.loss == pytest.approx(losses.mean().item(), rel=1e-5)
            assert point.error == pytest.approx(errors.mean().item(), abs=1e-9)
            assert point.excess == pytest.approx(excess.mean().item(), abs=1e-5)
            assert point.excess_interval == pytest.approx(half_width(excess), rel=1e-3, abs=1e-6)
            worse = [max((end[index] for end in ends), key=torch.mean) for index in (0, 1)]
            rise = losses - (ends[0][0] + ends[1][0]) / 2
            assert point.rise == pytest.approx(rise.mean().item(), abs=1e-5)
            assert point.rise_interval == pytest.approx(half_width(rise), rel=1e-3, abs=1e-6)
            assert point.climb == pytest.approx((losses - worse[0]).mean().item(), abs=1e-5)
            reach = half_above_both(losses, [end[0] for end in ends], half_width)
            assert point.climb_interval == pytest.approx(reach, rel=1e-3, abs=1e-5)
            for found, half, expected in (
                (point.error, point.error_interval, errors),
                (point.error_rise, point.error_rise_interval, errors - (ends[0][1] + ends[1][1]) / 2),
            ):
                assert found == pytest.approx(expected.mean().item(), abs=1e-9)
                assert half == pytest.approx(half_width_of_counts(expected), rel=1e-3)
            assert point.error_climb == pytest.approx((errors - worse[1]).mean().item(), abs=1e-9)
            reach = half_above_both(errors, [end[1] for end in ends], half_width_of_counts)
            assert point.error_climb_interval == pytest.approx(reach, rel=1e-3)
        curve, figures = evaluation.curves[name], evaluation.barriers[name]
        assert figures.barrier_entezari == max(point.excess for point in curve)
        assert figures.barrier_frankle == figures.loss_max - (curve[0].loss + curve[-1].loss) / 2
        highest, wrongest = max(curve, key=lambda point: point.loss), max(curve, key=lambda point: point.error)
        assert figures.frankle_interval == highest.rise_interval
        assert figures.error_barrier == pytest.approx(wrongest.error_rise, abs=1e-12)
        assert figures.error_barrier_interval == wrongest.error_rise_interval
        assert figures.climb == max(0.0, *(point.climb for point in curve))
        assert figures.climb_interval == highest.climb_interval
        assert figures.error_climb == pytest.approx(max(0.0, *(point.error_climb for point in curve)), abs=1e-12)
        assert figures.error_climb_interval == wrongest.error_climb_interval
    assert evaluation.bound == {"train": None, "test": None}


def test_refinement_closes_in_on_the_worst_point(setting):
    a, b = setting.weights(1), setting.weights(2)
    b = {name: -3 * w if w.is_floating_point() and "running" not in name else w for name, w in b.items()}
    coarse = evaluate(Path.from_points([a, b]), setting.task, points=5, refine=0).barriers["train"]
    fine = evaluate(Path.from_points([a, b]), setting.task, points=5, refine=6)
    exact = evaluate(Path.from_points([a, b]), setting.task, points=301, refine=0).barriers["train"]
    assert len(fine.curves["train"]) <= 5 + 12
    assert exact.loss_max - fine.barriers["train"].loss_max <= 0.2 * (exact.loss_max - coarse.loss_max) + 1e-4


def convex_path(setting):
    """Ends a and d: output layer, then a hidden neuron that nothing reads, then the output layer again."""
    a = setting.weights(1)
    a["6.weight"][:, 3] = 0
    b, c = copy.deepcopy(a), None
    b["6.weight"], b["6.bias"] = setting.weights(2)["6.weight"], setting.weights(2)["6.bias"]
    b["6.weight"][:, 3] = 0
    c = copy.deepcopy(b)
    c["4.weight"][3], c["4.bias"][3] = 7.0, -1.0
    d = copy.deepcopy(c)
    d["6.weight"] = setting.weights(3)["6.weight"]
    points = [a, b, c, d]
    return points, Path.from_points(points, guarantees=["convex", "constant", "convex"])


class Remembered(dict):
    """Measurements by t."""

    earlier = 0.0

    def known(self, t):
        return self.get(t)

    def add(self, measurements):
        self[measurements[0].t] = measurements


@pytest.mark.parametrize("proven", [False, True])
def test_parts_measured_apart_are_what_is_measured_at_once(setting, proven):
    path = convex_path(setting)[1] if proven else Path.from_points([setting.weights(1), setting.weights(2)])
    whole, seen = Remembered(), []
    evaluate(path, setting.task, points=6, refine=0, record=whole)
    for part in (1, 2, 3):
        mine = Remembered()
        measure_part(path, setting.task, Measuring(points=6), part, 3, record=mine)
        assert {t: whole[t] for t in mine} == mine
        seen += mine
    assert sorted(seen) == sorted(whole)


def test_guaranteed_segments_agree_with_forward_passes(setting):
    points, path = convex_path(setting)
    guaranteed = evaluate(path, setting.task)
    assert {point.source for point in guaranteed.curves["train"]} == {"forward", "outputs", "constant"}
    for point in guaranteed.curves["train"]:
        losses, errors = reference(setting, path(point.t))
        assert point.loss == pytest.approx(losses.mean().item(), rel=1e-5)
        assert point.error == pytest.approx(errors.mean().item(), abs=1e-9)
    knots = [reference(setting, point)[0].mean().item() for point in points]
    assert guaranteed.bound["train"] == pytest.approx(max(knots), rel=1e-6)


def test_a_proven_path_without_a_rise_is_called_proven(setting):
    a = setting.weights(1)
    b = {**a, "6.weight": 0.9 * a["6.weight"]}
    conclusion = evaluate(Path.from_points([a, b], guarantees=["convex"]), setting.task).conclusion
    assert conclusion.verdict == "proven"
    assert "never exceeds" in conclusion.headline


def test_no_interior_point_exceeds_the_bound(setting):
    _, path = convex_path(setting)
    bound = evaluate(path, setting.task).bound["train"]
    generator = torch.Generator().manual_seed(0)
    for t in torch.rand(50, generator=generator).tolist():
        assert reference(setting, path(t))[0].mean().item() <= bound * (1 + 1e-6)


def counted(setting):
    passes = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = setting.task.factory()

        def forward(self, x):
            passes.append(len(x))
            return self.net(x)

    from dataclasses import replace

    return passes, replace(setting.task, factory=Counting, test=None)


def test_a_measured_path_costs_one_pass_for_each_point(setting):
    passes, task = counted(setting)
    points = [{f"net.{k}": w for k, w in setting.weights(seed).items()} for seed in (1, 2)]
    evaluation = evaluate(Path.from_points(points), task, points=25, refine=0)
    assert len(evaluation.curves["train"]) == 25
    # Two samples under the weights of both ends, and once more to be compared with a copy; 32 twice at both, to see
    # that outputs are no matter of chance.
    faithful = 2 * 2 + 3 * 2 + 2 * 2 * 32
    read = len(telling(task.train))  # and a few to see how their targets are read
    together = 2 * 2 * 32  # a batch under two points, written and handed over, to see whether points go in groups
    assert sum(passes) == 25 * N + faithful + read + together


def test_constant_and_convex_segments_cost_a_pass_for_each_distinct_point(setting):
    passes, task = counted(setting)
    points, path = convex_path(setting)
    named = [{f"net.{k}": w for k, w in point.items()} for point in points]
    evaluate(Path.from_points(named, guarantees=path.guarantees), task)
    spot_checks, reading = 3 * 3 * 64, 16  # the structure is read, and checked, on two samples
    beside = N + 4 * 64  # and compared with the module: on all samples under other weights, on a few at each point
    faithful = 2 * 2 + 3 * 2 + 2 * 2 * 32
    assert sum(passes) - spot_checks - beside <= (3 + 1) * N + reading + faithful


def test_a_false_guarantee_is_found_and_gives_no_bound(setting):
    path = Path.from_points([setting.weights(1), setting.weights(2)], guarantees=["constant"])
    evaluation = evaluate(path, setting.task)
    assert evaluation.deviations[0].broken
    assert evaluation.bound["train"] is None
    assert any("refute" in sentence for sentence in evaluation.conclusion.sentences)


def test_a_loss_that_is_not_convex_gives_no_bound(setting):
    from dataclasses import replace

    _, path = convex_path(setting)
    loss = custom_loss("own", lambda o, y: cross_entropy(o, y, reduction="none").sin(), convex=False)
    assert evaluate(path, replace(setting.task, loss=loss)).bound["train"] is None


def test_identical_ends_have_no_barrier(setting):
    a = setting.weights(1)
    evaluation = evaluate(Path.from_points([a, copy.deepcopy(a)]), setting.task)
    for figures in evaluation.barriers.values():
        assert figures.barrier_entezari == 0
        assert abs(figures.barrier_frankle) < 1e-9
    assert evaluation.length == 0
    assert evaluation.conclusion.verdict == "connected"


def test_a_loss_that_overflows_is_an_infinite_barrier(setting):
    a, b = setting.weights(1), setting.weights(2)
    b["4.weight"], b["6.weight"] = b["4.weight"] * 1e30, b["6.weight"] * 1e30
    evaluation = evaluate(Path.from_points([a, b]), setting.task)
    assert evaluation.barriers["train"].loss_max == float("inf")
    assert evaluation.conclusion.verdict == "barrier"


def test_evaluation_leaves_path_inputs_and_global_random_state_alone(setting):
    points = [setting.weights(1), setting.weights(2)]
    before, state = copy.deepcopy(points), torch.get_rng_state()
    evaluate(Path.from_points(points), setting.task, correct="batch-norm")
    assert torch.equal(torch.get_rng_state(), state)
    for old, new in zip(before, points, strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_re_estimated_batch_norm_agrees_with_averages_over_the_batches(setting):
    a, b = setting.weights(1), setting.weights(2)
    evaluation = evaluate(Path.from_points([a, b]), setting.task, points=3, refine=0, correct="batch-norm")
    middle = between(a, b, 0.5)
    hidden = setting.x[:110].double() @ middle["0.weight"].T + middle["0.bias"]
    drawn = torch.randperm(110, generator=torch.Generator().manual_seed(0))
    batches = hidden[drawn].tensor_split(4)
    middle["1.running_mean"] = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    middle["1.running_var"] = torch.stack([batch.var(0) for batch in batches]).mean(0)
    losses, _ = reference(setting, middle)
    assert evaluation.curves["train"][1].loss == pytest.approx(losses.mean().item(), rel=1e-5)
    assert evaluation.correction == "batch-norm"
    assert evaluation.correction_options == {"samples": 16384, "seed": 0}


def test_re_estimated_batch_norm_voids_every_guarantee(setting):
    _, path = convex_path(setting)
    evaluation = evaluate(path, setting.task, correct="batch-norm")
    assert evaluation.bound["train"] is None
    assert {point.source for point in evaluation.curves["train"]} == {"forward"}


def test_tied_weights_stay_tied(setting):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(8, 8), nn.Linear(8, 8)
            self.decode.weight = self.encode.weight

        def forward(self, x):
            return self.decode(self.encode(x).relu())

    from dataclasses import replace

    points = [{k: w.clone() for k, w in Tied().state_dict().items()} for _ in range(2)]
    path = Path.from_points(points)
    assert all(torch.equal(path(t)["encode.weight"], path(t)["decode.weight"]) for t in (0, 0.3, 1))
    evaluation = evaluate(path, replace(setting.task, factory=Tied), points=3, refine=0)
    middle = Tied()
    middle.load_state_dict(path(0.5))
    expected = cross_entropy(middle(setting.x[:N]), setting.y[:N]).item()
    assert evaluation.curves["train"][1].loss == pytest.approx(expected, rel=1e-5)
    moved = (points[0]["encode.weight"] - points[1]["encode.weight"]).norm() ** 2
    biases = sum((points[0][k] - points[1][k]).norm() ** 2 for k in ("encode.bias", "decode.bias"))
    assert evaluation.length == pytest.approx(float((moved + biases) ** 0.5), rel=1e-5)


@pytest.mark.parametrize(("points", "refine"), [(1, 0), (5, -1)])
def test_too_few_points_are_refused(setting, points, refine):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with pytest.raises(UsageError, match="expected points"):
        evaluate(path, setting.task, points=points, refine=refine)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_measures_what_the_cpu_measures(setting):
    from dataclasses import replace

    _, path = convex_path(setting)
    device = torch.device("cuda")
    splits = {split.name: split.to(device, torch.float32) for split in setting.task.splits()}
    there = evaluate(path, replace(setting.task, device=device, **splits))
    here = evaluate(path, setting.task)
    assert there.bound["train"] == pytest.approx(here.bound["train"], rel=1e-5)
