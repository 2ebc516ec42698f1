"""A stranger's distribution, installed for real, is found and held to the same contracts as the built-ins."""

import json
import os
import pathlib
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from connectivity_hooks.testing import BuilderSuite, ConditionSuite

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install tests/third_party into a folder of its own; return an environment that finds it."""
    target = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
    ]
    subprocess.run([*pip, HERE / "third_party"], check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(target), os.environ.get("PYTHONPATH"))))}


def cli(environment, *words):
    program = [sys.executable, "-c", "from connectivity_hooks.cli import main; main()"]
    return subprocess.run([*program, *map(str, words)], env=environment, capture_output=True, text=True)


def test_it_is_listed_with_kind_version_origin_and_options(installed):
    listed = json.loads(cli(installed, "plugins", "--json").stdout)
    mine = {m["name"]: m for m in listed["methods"] if m["distribution"] == "connectivity-hooks-example"}
    assert {name: m["kind"] for name, m in mine.items()} == {"sparsity": "condition", "detour": "builder"}
    assert mine["detour"]["version"] == "0.3.1"
    assert mine["detour"]["options"][0]["flag"] == "--detour.shrink"


def test_its_builder_connects_beside_ours(installed, tmp_path):
    demo = cli(installed, "demo", "--out", tmp_path)
    assert demo.returncode == 0, demo.stderr
    ends = [
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        "--model",
        "connectivity_hooks.demo:network",
    ]
    builders = [
        "--builder",
        "detour",
        "--builder",
        "linear",
        "--detour.shrink",
        "0.9",
        "--condition",
        "sparsity",
    ]
    run = cli(installed, "connect", *ends, "--data", "digits", *builders, "--json", "--out", tmp_path / "both")
    report = json.loads(run.stdout)
    assert list(report["builders"]) == ["detour", "linear"]
    assert report["builders"]["detour"]["options"] == {"shrink": 0.9, "seed": 0}
    assert (tmp_path / "both" / "detour.path.safetensors").exists()
    assert report["conditions"]["A: a.safetensors"][0]["condition"] == "sparsity"


def test_it_can_be_left_out(installed):
    listed = json.loads(cli(installed, "plugins", "--json", "--block", "example").stdout)
    assert not any(m["name"] == "detour" for m in listed["methods"])


SUITES = """
from connectivity_hooks.testing import BuilderSuite, ConditionSuite
from connectivity_hooks_example.detour import Detour
from connectivity_hooks_example.sparsity import Sparsity

class TestDetour(BuilderSuite):
    builder = Detour

class TestSparsity(ConditionSuite):
    condition = Sparsity
"""


def test_it_passes_the_conformance_suites(installed, tmp_path):
    (tmp_path / "test_example.py").write_text(SUITES)
    pytest_run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={tmp_path / 'done.xml'}",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    done = subprocess.run(pytest_run, env=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    cases = ElementTree.parse(tmp_path / "done.xml").iter("testcase")
    names = [case.get("name").partition("[")[0] for case in cases if not list(case)]  # a failure or a skip is inside
    wanted = [name for suite in (BuilderSuite, ConditionSuite) for name in dir(suite) if name.startswith("test_")]
    assert set(wanted) <= set(names)
