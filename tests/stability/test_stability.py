"""The barrier between copies, against a plain float64 loop; what is kept; table, picture and files."""

import json
import math
from dataclasses import replace

import pytest
import scipy.stats
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

import connectivity_hooks as ch
from connectivity_hooks.reports.plots import as_svg
from connectivity_hooks.tasks.loss import custom_loss


def scores(task, weights, split):
    """Return losses and errors (N,) of a fresh module in float64."""
    net = task.factory().double().eval()
    net.load_state_dict({name: w.double() if w.is_floating_point() else w for name, w in weights.items()})
    with torch.no_grad():
        outputs = net(split.inputs.double())
    losses = cross_entropy(outputs, split.targets(), reduction="none")
    return torch.stack([losses, (outputs.argmax(1) != split.targets()).double()])


def half_width(values, more):
    """Return the half-width of Student's 95 % interval of a mean, of errors with `more` = 2 samples that change."""
    count = len(values) + more
    squares = (values**2).sum() + more
    variance = (squares / count - (values.sum() / count) ** 2) * (1 if more else count / (count - 1))
    return (scipy.stats.t.ppf(0.975, count - 1) * (variance / count) ** 0.5).item()


def reference(task, files, split, points):
    """Return the barrier of loss and of error, and the half-width of its interval, of the straight line."""
    a, b = map(load_file, files)
    ends = (scores(task, a, split) + scores(task, b, split)) / 2
    worst = {}
    for index in range(points):
        t = index / (points - 1)
        mixed = {k: (1 - t) * a[k].double() + t * b[k].double() if a[k].is_floating_point() else a[k] for k in a}
        rise = scores(task, mixed, split) - ends
        for row, name in enumerate(("loss", "error")):
            if rise[row].mean() > worst.get(name, (-math.inf,))[0]:
                worst[name] = (rise[row].mean().item(), half_width(rise[row], more=2 * (name == "error")))
    return worst


@pytest.mark.parametrize("step", [0, 40])
def test_every_barrier_agrees_with_a_plain_loop_in_float64(training, finished, step):
    task = replace(training.task, dtype=torch.float64)
    task = replace(task, train=task.train.to(task.device, task.dtype), test=task.test.to(task.device, task.dtype))
    found = ch.stability_of(finished, task, k=step, points=9, refine=0)
    assert [(one.a, one.b) for one in found.connections] == [
        ("seed_1", "seed_2"), ("seed_1", "seed_3"), ("seed_2", "seed_3")
    ]  # fmt: skip
    for split in (task.train, task.test):
        expected = []
        for one in found.connections:
            files = [finished / f"k_{step:08d}" / f"{name}.safetensors" for name in (one.a, one.b)]
            expected.append(reference(task, files, split, 9))
            figures = one.barriers[split.name]
            for value, half, wanted in (
                (figures.barrier_frankle, figures.frankle_interval, expected[-1]["loss"]),
                (figures.error_barrier, figures.error_barrier_interval, expected[-1]["error"]),
            ):
                assert value == pytest.approx(wanted[0], rel=1e-9, abs=1e-12)
                assert half == pytest.approx(wanted[1], rel=1e-7, abs=1e-12)  # Student's quantile is an expansion
        (at,) = found.instability[split.name]
        for spread, name in ((at.loss, "loss"), (at.error, "error")):
            values = [one[name][0] for one in expected]
            assert spread.mean == pytest.approx(sum(values) / 3, abs=1e-12)
            assert (spread.least, spread.most) == pytest.approx((min(values), max(values)), abs=1e-12)


def test_the_length_of_the_straight_line_is_the_distance_of_the_copies(training, finished):
    found = ch.stability_of(finished, training.task, k=40, points=2, refine=0)
    a, b = (load_file(finished / "k_00000040" / f"seed_{seed}.safetensors") for seed in (1, 2))
    trained = [name for name, _ in training.task.factory().named_parameters()]
    squares = sum(float((a[name].double() - b[name].double()).square().sum()) for name in trained)
    assert found.connections[0].length == pytest.approx(squares**0.5, rel=1e-6)


def test_copies_that_part_later_end_nearer_to_each_other(training, finished):
    found = ch.stability_of(finished, training.task, points=5, refine=0)
    distance = {step: [one.length for one in found.connections if one.step == step] for step in found.steps}
    assert found.steps == (0, 40)
    assert max(distance[40]) < min(distance[0])


def test_batch_norm_can_be_re_estimated_and_stored_statistics_are_pointed_out(training, finished):
    stored, anew = (
        ch.stability_of(finished, training.task, k=0, points=3, refine=0, correct=kind)
        for kind in ("none", "batch-norm")
    )
    assert any("batch norm" in note for note in stored.notes)
    assert not anew.notes
    one, other = (found.instability["train"][0].loss.mean for found in (stored, anew))
    assert one != other


def test_what_a_correction_says_is_noted_once(training, finished, tmp_path):
    how = {"points": 3, "refine": 0, "correct": "repair", "keep": tmp_path / "kept"}
    found = ch.stability_of(finished, training.task, **how)
    said = "repair gives 1 layer the means and deviations between both ends', and measures 1 norm anew"
    assert found.notes == (said,)
    found.save(tmp_path / "report")
    assert '"correction": "repair"' in (tmp_path / "report" / "stability.json").read_text(encoding="utf-8")
    assert ch.stability_of(finished, training.task, **how).connections == found.connections
    assert found.connections != ch.stability_of(finished, training.task, points=3, refine=0).connections


def test_a_checkpoint_of_any_origin_is_a_copy(training, runs):
    place = runs / "k_00000040"
    (place / "start.safetensors").unlink()
    (place / "start.state.pt").unlink()
    (place / "folder").mkdir()
    for seed in (1, 2, 3):
        save_file(load_file(place / f"seed_{seed}.safetensors"), place / f"run-{seed}.safetensors")
        (place / f"seed_{seed}.safetensors").unlink()
    (place / "run-3.safetensors").replace(place / "folder" / "model.safetensors")
    found = ch.stability_of(runs, training.task, k=40, points=2, refine=0)
    assert next((one.a, one.b) for one in found.connections) == ("folder", "run-1")


def bfloat16(place):
    weights = load_file(place / "seed_1.safetensors")
    save_file(
        {k: w.bfloat16() if w.is_floating_point() else w for k, w in weights.items()}, place / "seed_1.safetensors"
    )


def test_what_was_done_to_a_checkpoint_is_noted_once(training, runs):
    bfloat16(runs / "k_00000040")
    found = ch.stability_of(runs, training.task, points=2, refine=0, correct="batch-norm")
    assert found.notes == ("k = 40: seed_1.safetensors: stored as bfloat16, the path is in float32",)


def test_finished_pairs_are_found_again_and_only_new_ones_are_measured(training, finished, tmp_path, monkeypatch):
    from connectivity_hooks.connecting import measured as procedure

    measured = []
    evaluate = procedure.evaluate
    monkeypatch.setattr(procedure, "evaluate", lambda *a, **k: measured.append(a) or evaluate(*a, **k))
    how = {"points": 3, "refine": 0, "keep": tmp_path / "kept"}
    first = ch.stability_of(finished, training.task, k=40, **how)
    assert len(measured) == 3
    both = ch.stability_of(finished, training.task, **how)
    assert len(measured) == 6
    assert both.connections[3:] == first.connections
    assert ch.stability_of(finished, training.task, **how).connections == both.connections
    assert len(measured) == 6
    ch.stability_of(finished, training.task, **{**how, "points": 4})
    assert len(measured) == 12
    ch.stability_of(finished, training.task, correct="batch-norm", **how)
    assert len(measured) == 18
    kept = next((tmp_path / "kept").glob("*.json"))
    kept.write_text(kept.read_text(encoding="utf-8")[:100])
    ch.stability_of(finished, training.task, correct="batch-norm", **how)
    assert len(measured) == 19


def test_the_test_split_decides_and_the_training_split_where_there_is_no_other(training, finished):
    alone = replace(training.task, test=None)
    found = ch.stability_of(finished, alone, k=40, points=3, refine=0)
    assert found.splits == ("train",)
    assert "train" in found.conclusion.headline


def test_a_result_prints_plots_and_saves_itself(training, finished, tmp_path):
    found = ch.stability_of(finished, training.task, points=3, refine=0)
    lines = found.table().splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        [k, "3", split] for k in ("0", "40") for split in ("train", "test")
    ]
    found.plot().savefig(tmp_path / "x.png")
    found.save(tmp_path / "report")
    names = {file.name for file in (tmp_path / "report").iterdir()}
    assert names == {"stability.csv", "curves.csv", "stability.svg", "stability.html", "stability.json"}
    content = json.loads((tmp_path / "report" / "stability.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(found.as_json()))
    assert content["instability"]["test"][1]["error"]["mean"] == found.instability["test"][1].error.mean


def test_a_loss_without_errors_is_judged_by_itself(training, finished):
    loss = custom_loss("mine", lambda outputs, targets: cross_entropy(outputs, targets, reduction="none"), convex=True)
    found = ch.stability_of(finished, replace(training.task, loss=loss), points=3, refine=0)
    assert found.instability["test"][0].error is None
    assert "loss barrier" in found.conclusion.headline
    assert "<svg" in as_svg(found.plot())
    assert found.table().splitlines()[2].split()[:3] == ["0", "3", "train"]
