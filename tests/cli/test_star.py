"""``connectivity-hooks hub`` and ``star``."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from connectivity_hooks.paths import Path


@pytest.fixture
def task_words(workspace):
    return ["--model", f"{workspace}/net.py:make", "--data", workspace / "data.npz"]


@pytest.fixture
def hub(run, task_words, tmp_path):
    file = tmp_path / "hub.safetensors"
    status, out, _ = run("hub", *task_words, "--effort", "quick", "--out", file)
    assert status == 0
    assert out.startswith("train: loss ")
    return file


def test_star_connects_every_pair_over_the_hub(run, hub, task_words, workspace, tmp_path):
    words = ["star", workspace / "a.safetensors", workspace / "b.safetensors", *task_words, "--hub", hub]
    words += ["--effort", "quick", "--out", tmp_path / "star", "--json"]
    status, out, _ = run(*words, "--pairs")
    found = json.loads(out)
    assert status == 0
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("a", "b")]
    assert found["pairs"][0]["bound"] == max(one["bound"]["train"] for one in found["checkpoints"].values())
    assert sorted(file.name for file in (tmp_path / "star").glob("*.safetensors")) == [
        "a-b.path.safetensors",
        "a.path.safetensors",
        "b.path.safetensors",
    ]
    both = ["--checkpoint", workspace / "a.safetensors", "--checkpoint", workspace / "b.safetensors"]
    assert run("verify", tmp_path / "star" / "a-b.path.safetensors", *task_words, *both)[0] == 0
    written = (tmp_path / "star" / "a.path.safetensors").stat().st_mtime_ns
    status, again, _ = run(*words)
    assert json.loads(again)["pairs"] == found["pairs"]
    assert (tmp_path / "star" / "a.path.safetensors").stat().st_mtime_ns == written
    assert run(*words, "--augment", "flip")[0] == 0
    assert (tmp_path / "star" / "a.path.safetensors").stat().st_mtime_ns != written
    (tmp_path / "star" / "a.path.safetensors").write_bytes(b"damaged")
    status, again, _ = run(*words)
    assert (status, json.loads(again)["pairs"]) == (0, found["pairs"])


def test_shards_of_a_star_are_put_together_by_the_run_without(run, hub, task_words, workspace, tmp_path):
    words = ["star", workspace / "a.safetensors", workspace / "b.safetensors", *task_words, "--hub", hub]
    words += ["--effort", "quick", "--json", "--out"]
    for number, name in ((2, "b"), (1, "a")):
        status, out, _ = run(*words, tmp_path / "star", "--shard", f"{number}/2")
        assert (status, list(json.loads(out)["checkpoints"])) == (0, [name])
    written = [file.stat().st_mtime_ns for file in sorted((tmp_path / "star").iterdir())]
    assert len(written) == 2
    together = json.loads(run(*words, tmp_path / "star")[1])
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "star").iterdir())] == written
    assert together == json.loads(run(*words, tmp_path / "one")[1])
    status, _, err = run(*words, tmp_path / "star", "--shard", "1/2", "--pairs")
    assert (status, err.count("\n")) == (2, 1)


@pytest.fixture(scope="module")
def forged():
    """Return ways to forge a kept path that names the same files and options as the honest one."""

    def zeroed(path):
        points = [{name: torch.zeros_like(tensor) for name, tensor in point.items()} for point in path.points()]
        return Path.from_points(points, guarantees=path.guarantees)

    def measured(path):
        return Path.from_points([path.start, path.end])

    def lying(path):
        middle = {name: tensor * 1.1 if tensor.is_floating_point() else tensor for name, tensor in path.start.items()}
        return Path.from_points([path.start, middle, path.end], guarantees=["constant", "convex"])

    return {"zeroed": zeroed, "measured": measured, "lying": lying}


@pytest.mark.parametrize("kind", ["zeroed", "measured", "lying"])
def test_a_kept_path_is_not_believed_on_its_word(run, hub, forged, task_words, workspace, tmp_path, kind):
    words = ["star", workspace / "a.safetensors", workspace / "b.safetensors", *task_words, "--hub", hub]
    words += ["--effort", "quick", "--out", tmp_path / "star", "--json"]
    honest = json.loads(run(*words)[1])
    file = tmp_path / "star" / "a.path.safetensors"
    path = Path.load(file)
    same_words = {name: getattr(path, name) for name in ("end_points", "builder", "options", "alignment")}
    replace(forged[kind](path), **same_words).save(file)
    status, out, _ = run(*words)
    assert status == 0
    assert json.loads(out)["pairs"] == honest["pairs"]
    assert json.loads(out)["checkpoints"]["a"]["loss"] == honest["checkpoints"]["a"]["loss"]
    assert Path.load(file).guarantees == path.guarantees


def test_a_hub_learns_from_augmented_inputs(run, hub, task_words, tmp_path):
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        assert run("hub", *task_words, "--augment", "flip", "--effort", "quick", "--out", file)[0] == 0
    one, two, plain = (load_file(file) for file in (*files, hub))
    assert all(tensor.equal(two[name]) for name, tensor in one.items())
    assert not one["1.weight"].equal(plain["1.weight"])
    status, _, err = run("hub", *task_words, "--augment", "flop", "--out", tmp_path / "three.safetensors")
    assert status == 2
    assert "did you mean 'flip'" in err


def test_connect_meets_at_the_hub(run, ends, hub):
    status, out, _ = run(*ends, "--builder", "certified", "--certified.hub", hub, "--json")
    assert status == 0
    assert json.loads(out)["builders"]["certified"]["bound"]["train"] > 0


def test_a_hub_that_is_none_is_refused(run, ends, workspace):
    status, _, err = run(*ends, "--builder", "certified", "--certified.hub", workspace / "a.safetensors")
    assert status == 3
    assert "make one with `connectivity-hooks hub`" in err


def test_commands_of_plugins_are_listed_and_can_be_blocked(run):
    assert "Commands of plugins" in run("--help")[1]
    status, _, err = run("stra")
    assert status == 2
    assert "star" in err


def test_a_hub_that_cannot_be_written_is_refused_before_it_is_trained(run, task_words, tmp_path, monkeypatch):
    from connectivity_hooks_theorem.commands import hub

    monkeypatch.setattr(hub, "train_hub", None)
    status, _, err = run("hub", *task_words, "--out", tmp_path / "none" / "hub.safetensors")
    assert (status, "cannot be written" in err) == (3, True)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_star_compares_every_header_before_any_tensor_is_read(
    run, hub, task_words, workspace, tmp_path, monkeypatch, place
):
    """Before, a third checkpoint of another network was found out after the ways of the first two were built."""
    from connectivity_hooks.checkpoints import reading

    wide = load_file(workspace / "a.safetensors")
    wide["4.bias"] = torch.zeros(5)
    save_file(wide, tmp_path / "wide.safetensors")
    words = ["star", workspace / "a.safetensors", workspace / "b.safetensors", "--hub", hub, *task_words]
    words[words.index(hub) if place == 3 else place] = tmp_path / "wide.safetensors"
    monkeypatch.setattr(reading, "contents_of", lambda *given: pytest.fail("a tensor was read"))
    status, _, err = run(*words, "--out", tmp_path / "star")
    assert (status, err.count("\n")) == (3, 1)
    assert "wide.safetensors: does not fit the model" in err
    assert "expected (3,), found (5,)" in err
    assert not (tmp_path / "star").exists()


@pytest.mark.parametrize("command", ["star", "verify"])
def test_a_library_s_model_is_compared_with_the_checkpoints_before_it_is_made(
    run, hub, task_words, workspace, tmp_path, monkeypatch, command
):
    from connectivity_hooks.errors import InputError
    from connectivity_hooks.tasks import making

    def compared(spec, checkpoints):
        raise InputError(f"compared: {' '.join(one.file.stem for one in checkpoints)}")

    monkeypatch.setattr(making, "check_size", compared)
    ends = [workspace / "a.safetensors", workspace / "b.safetensors"]
    if command == "star":
        given = ["star", *ends, "--hub", hub, "--out", tmp_path / "star"]
    else:
        given = ["verify", tmp_path / "p.path.safetensors", "--checkpoint", ends[0], "--checkpoint", ends[1]]
    status, _, err = run(*given, *task_words)
    assert (status, "compared: a b" in err) == (3, True)


def test_a_hub_s_figures_are_those_of_a_plain_pass_in_float64(run, hub, task_words, workspace, tmp_path):
    import connectivity_hooks as ch

    words = ["hub", *task_words, "--effort", "quick", "--json", "--out", tmp_path / "again.safetensors"]
    found = json.loads(run(*words)[1])
    task = ch.make_task(model=f"{workspace}/net.py:make", data=str(workspace / "data.npz"))
    net = task.factory().double().eval()
    net.load_state_dict(load_file(tmp_path / "again.safetensors"))
    for split in task.splits():
        with torch.no_grad():
            outputs = net(split.inputs.double())
        wrong = (outputs.argmax(1) != split.targets()).double().mean().item()
        loss = torch.nn.functional.cross_entropy(outputs, split.targets()).item()
        assert found[split.name]["loss"] == pytest.approx(loss, rel=1e-5)
        assert found[split.name]["error"] == wrong
