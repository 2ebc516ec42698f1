"""What kept work is compared by: anything that changes a figure makes it another work."""

import functools
import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import connectivity_hooks as ch
from connectivity_hooks.connecting.methods import make_builder
from connectivity_hooks.connecting.subject import data_digest, subject
from connectivity_hooks.connecting.work import digest_of
from connectivity_hooks.contracts import Builder, Correction, Prepared
from connectivity_hooks.held_values import module_digest, values_digest
from connectivity_hooks.progress import SILENT
from connectivity_hooks.sources import sources_of
from connectivity_hooks.tasks import CachedSplit, Task
from connectivity_hooks.tasks.loss import LOSSES
from connectivity_hooks_theorem.certified.builder import Certified, Options

MODEL = "from torch import nn\nfrom {helper} import scale\n\n\ndef make():\n    return nn.Linear(4, 2)\n"
LOSS = "def loss(x, y):\n    return (x - y[:, None]) ** 2\n"
AUGMENT = "def make():\n    return lambda x: x + 1\n"


def key(task, builder=None, correction=None):
    builder = builder or make_builder("linear", None, seed=0, progress=SILENT)
    return digest_of(subject(["a", "b"], builder, None, task, correction, data_digest(task)))


@pytest.fixture
def world(tmp_path, request):
    """Return a folder with a model, its helper, a loss of the same name, an augmentation, and data."""
    # Modules are found by name, and those of another test are loaded already.
    helper = f"helper_{abs(hash(request.node.name))}"
    for name, text in {
        "m/net.py": MODEL.format(helper=helper),
        f"m/{helper}.py": "scale = 1\n",
        "z/net.py": LOSS,
        "augment.py": AUGMENT,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=generator.normal(size=(20, 4)).astype("f"), y_train=np.arange(20) % 2)
    return tmp_path


def made(world, **more):
    given = {"model": f"{world}/m/net.py:make", "data": f"{world}/d.npz", "loss": f"{world}/z/net.py:loss"}
    return ch.make_task(**given, **more)


@pytest.mark.parametrize("edited", ["m/net.py", "z/net.py", "m/helper", "augment.py"])
def test_each_file_of_code_counts_whatever_others_are_called(world, edited):
    (file,) = world.glob(f"{edited}_*.py" if edited == "m/helper" else edited)
    task = made(world, augment=f"{world}/augment.py:make")
    before = key(task)
    assert key(made(world, augment=f"{world}/augment.py:make")) == before
    file.write_text(file.read_text() + "# a remark\n")
    assert key(task) != before


def test_a_module_named_by_its_package_counts_with_its_package(world, monkeypatch):
    package = world / "own_package_of_subject"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts").mkdir()
    (package / "parts" / "__init__.py").write_text("")
    (package / "depth.py").write_text("DEPTH = 1\n")
    text = "from torch import nn\nfrom ..depth import DEPTH\n\n\ndef make():\n    return nn.Linear(4, 2)\n"
    (package / "parts" / "net.py").write_text(text)
    monkeypatch.syspath_prepend(world)
    importlib.invalidate_caches()
    spec = {"model": "own_package_of_subject.parts.net:make", "data": f"{world}/d.npz"}
    before = key(ch.make_task(**spec))
    for file in ("depth.py", "parts/net.py"):
        (package / file).write_text((package / file).read_text() + "# a remark\n")
        after = key(ch.make_task(**spec))
        assert after != before
        before = after


def test_code_that_was_edited_after_it_was_loaded_is_neither_the_old_nor_the_new(world):
    task, file = made(world), world / "m/net.py"
    old = sources_of([task.factory])
    file.write_text(file.read_text() + "# a remark\n")
    mixed = sources_of([task.factory])
    for name in [name for name in sys.modules if name.startswith("_connectivity_hooks_net_")]:
        del sys.modules[name]
    new = sources_of([made(world).factory])
    assert len({str(old), str(mixed), str(new)}) == 3


def net():
    return nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5))


X, Y = torch.arange(80.0).reshape(20, 4), torch.arange(20) % 2
TASK = Task(net, CachedSplit("train", X, Y))


def given(inputs, targets=Y):
    return data_digest(replace(TASK, train=CachedSplit("train", inputs, targets)))


def test_names_shapes_types_and_plain_arguments_of_a_batch_count():
    ways = [
        given(X),
        given(X.reshape(20, 2, 2)),
        given(X.view(torch.int32)),
        given((X,)),
        given({"a": X}),
        given({"b": X}),
        given({"a": X, "b": 2 * X}),
        given({"b": X, "a": 2 * X}),
        given((X, 1.0)),
        given((X, 4.0)),
        given((X, None)),
        given((X, True)),
        given(X, Y[:, None]),
    ]
    assert len(set(ways)) == len(ways)
    assert given((X, 4.0)) == given((X, 4.0))


def test_the_batch_size_counts():
    assert key(TASK) != key(replace(TASK, batch_size=7))


def test_numbers_of_the_module_that_a_factory_makes_count():
    def made(share, saved=True):
        model = nn.Sequential(nn.Linear(4, 2), nn.Dropout(share))
        model.register_buffer("table", torch.full((2,), share), persistent=saved)
        return module_digest(model)

    assert made(0.5) == made(0.5)
    assert len({made(0.5), made(0.25), module_digest(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))}) == 3
    with_tables = [nn.Linear(4, 2), nn.Linear(4, 2)]
    for scale, model in enumerate(with_tables):
        model.register_buffer("table", torch.full((2,), float(scale)), persistent=False)
    assert module_digest(with_tables[0]) != module_digest(with_tables[1])


def test_what_code_that_is_handed_over_holds_counts():
    def factory(width):
        return lambda: nn.Linear(4, width)

    assert key(replace(TASK, factory=factory(2))) == key(replace(TASK, factory=factory(2)))
    assert values_digest(factory(2)) != values_digest(factory(3))
    assert values_digest(functools.partial(factory, 2)) != values_digest(functools.partial(factory, 3))
    plain = LOSSES["cross-entropy"]

    def weighing(weights):
        return replace(plain, name="own", terms=lambda outputs, targets: plain.terms(outputs * weights, targets))

    assert len({key(replace(TASK, loss=weighing(torch.tensor([1.0, w])))) for w in (1.0, 2.0, 2.0)}) == 2


FACTOR = 2.0


class Scaled(Prepared):
    """Weights times a number from elsewhere."""

    def __init__(self, moving):
        self.moving = moving

    def apply(self, t):
        self.moving.model[0].weight.data.mul_(FACTOR)


class Scaling(Correction):
    """The same."""

    name = "scaling"

    def prepare(self, moving):
        return Scaled(moving)


def test_what_a_correction_of_ones_own_reads_is_never_measured_under_another(tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = ch.Path.from_points([net().state_dict(), net().state_dict()])

    def losses(keep=None):
        found = ch.evaluate(path, TASK, points=3, refine=0, correct=Scaling(), keep=keep)
        return [measured.loss for measured in found.curves["train"]]

    before = losses(tmp_path)
    assert losses(tmp_path) == before == losses()
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    assert losses(tmp_path) == losses() != before


def test_the_content_of_a_file_that_an_option_names_counts(tmp_path):
    hub = tmp_path / "hub.safetensors"
    keys = []
    for value in (1.0, 1.0, 2.0):
        save_file({"w": torch.full((2,), value)}, hub)
        keys.append(key(TASK, Certified(Options(hub=str(hub)))))
    (tmp_path / "hub.bin").write_bytes(b"anything")
    keys.append(key(TASK, Certified(Options(hub=str(tmp_path / "hub.bin")))))
    (tmp_path / "hub.bin").write_bytes(b"any other")
    keys.append(key(TASK, Certified(Options(hub=str(tmp_path / "hub.bin")))))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_the_code_of_a_builder_counts(tmp_path, monkeypatch):
    file = tmp_path / "builder_of_subject.py"
    text = "from connectivity_hooks.contracts import Builder\n\n\nclass Straight(Builder):\n    name = 'straight'\n"
    file.write_text(text + "    def build(self, a, b, task):\n        return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    builder: Builder = importlib.import_module("builder_of_subject").Straight()
    before = key(TASK, builder)
    file.write_text(file.read_text() + "# a remark\n")
    assert key(TASK, builder) != before


def test_what_passes_leave_on_a_module_makes_no_other_work():
    class Counting(nn.Linear):
        passes = 0

        def forward(self, x):
            self.passes += 1
            return super().forward(x)

    task = replace(TASK, factory=lambda: Counting(4, 2))
    before = key(task)
    task.forward(task.structure(), X)
    assert key(task) == before
