"""What a person types for a model, a loss or a function: called, or refused in one line."""

import pytest
from torch import nn

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.tasks.making import make_task
from connectivity_hooks.tasks.models import model_factory
from connectivity_hooks.tasks.references import parse

CODE = """
from torch import nn

def make(width=16, **rest): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def refuses(**rest): raise RuntimeError("no such luck\\nsecond line")
def leaves(**rest): raise SystemExit(3)
def endless(): return endless()
def loss(outputs, targets): raise KeyError("two\\nlines")

def __getattr__(name):
    if name == "odd":
        raise OSError("odd")
    raise AttributeError(name)
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    return f"{tmp_path}/net.py"


def test_arguments_are_literals_or_text():
    found = parse("net.py:make?width=16&rates=[0.5, 1]&act=relu&none=None&gap=a b")
    assert found.arguments == {"width": 16, "rates": [0.5, 1], "act": "relu", "none": None, "gap": "a b"}


@pytest.mark.parametrize("value", ["{[]:1}", "{{}}", "[" * 90 + "]" * 90, "1" * 20_000], ids=range(4))
def test_an_argument_that_python_cannot_read_is_named_and_cut(net, value):
    with pytest.raises(UsageError, match=r"^\?width=.*: cannot be read: ") as error:
        model_factory(f"{net}:make?width={value}")
    assert len(str(error.value)) < 300


ODD = ["-" * 5000 + "1", "[" * 200 + "]" * 200, "9" * 6000, "((((", "\0", "\ud800", "f(1)", "1e400", "0x" + "f" * 4000]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_an_argument_of_any_kind_reaches_the_function_or_is_refused(net, value):
    try:
        made = model_factory(f"{net}:make?width={value}")()
    except UsageError:
        return
    assert isinstance(made, nn.Sequential)


@pytest.mark.parametrize("name", ["refuses", "leaves", "endless", "odd"])
def test_a_function_that_fails_is_named_in_one_line(net, name):
    with pytest.raises(InputError, match=rf"net\.py:{name} fails: ") as error:
        model_factory(f"{net}:{name}")()
    assert "\n" not in str(error.value)


HOMES = ["__main__:make", "nul\0:make", "\ud800:make", ".:make", "..a:make", "x" * 5000 + ".py:make", "nul\0.py:make"]


@pytest.mark.parametrize("spec", [*HOMES, ":", "a:", "two\nlines.py:make"])
def test_a_home_that_is_none_is_refused(spec):
    with pytest.raises((InputError, UsageError)) as error:
        model_factory(spec)()
    assert "\n" not in str(error.value)


def test_a_loss_that_fails_is_named_with_the_shapes_it_got(net):
    with pytest.raises(InputError, match=r"fails on outputs \((\d), 10\) and targets \(\1,\): KeyError") as error:
        make_task(model=f"{net}:make", data="digits", loss=f"{net}:loss")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["cuda:99999999999999999999", "nul\0", "\ud800", "x" * 999, ""])
def test_a_device_that_is_none_is_wrong_usage(net, device):
    with pytest.raises(UsageError, match="--device"):
        make_task(model=f"{net}:make", data="digits", device=device)
