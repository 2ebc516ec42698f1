"""Folders that timm's save_for_hf wrote: connected, and written back as folders that timm loads."""

import json

import pytest
import torch

timm = pytest.importorskip("timm")

_LOADS_FOLDERS = tuple(int(part) for part in timm.__version__.split(".")[:3] if part.isdigit()) >= (1, 0, 16)

LOADERS = """
import torch

def loaders():
    g = torch.Generator().manual_seed(0)
    def batch():
        return torch.randn(8, 3, 32, 32, generator=g), torch.randint(3, (8,), generator=g)
    return [batch()], [batch()]
"""


def network(seed):
    torch.manual_seed(seed)
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, embed_dim=12, depth=1, num_heads=2)


@pytest.fixture
def ends(tmp_path, monkeypatch):
    hub = pytest.importorskip("timm.models._hub")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(LOADERS)
    arguments = {"img_size": 32, "embed_dim": 12, "depth": 1, "num_heads": 2}
    for seed, end in enumerate("ab"):
        hub.save_for_hf(network(seed), end, model_args=arguments, safe_serialization=True)
    return tmp_path


@pytest.mark.skipif(not _LOADS_FOLDERS, reason="this timm loads no folders")
def test_a_point_of_a_path_is_a_folder_that_timm_loads(ends, run):
    status, out, err = run("connect", "a", "b", "--data", "data.py:loaders", "--points", 3, "--out", "o")
    assert status in (0, 4), out + err
    for t in (0, 0.5, 1):
        status, _, err = run("sample", "o/linear.path.safetensors", "-t", t, "--like", "a", "-o", f"at{t}")
        assert status == 0, err
    a, b = (network(seed).state_dict() for seed in (0, 1))
    load = timm.create_model
    found = {t: load(f"local-dir:at{t}", pretrained=True).state_dict() for t in (0, 0.5, 1)}
    for name, tensor in found[0.5].items():
        assert torch.equal(found[0][name], a[name])
        assert torch.equal(found[1][name], b[name])
        expected = (a[name].double() + b[name].double()) / 2
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)


def test_the_configuration_is_copied_as_it_was(ends, run):
    assert run("connect", "a", "b", "--data", "data.py:loaders", "--points", 3, "--out", "o")[0] in (0, 4)
    assert run("sample", "o/linear.path.safetensors", "-t", 0.5, "--like", "a", "-o", "mid")[0] == 0
    one, other = (json.loads((ends / name / "config.json").read_text()) for name in ("a", "mid"))
    assert one == other
