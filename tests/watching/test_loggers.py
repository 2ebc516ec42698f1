import logging

import pytest
from watched_training import Mean, data

import connectivity_hooks as ch
from connectivity_hooks.contracts import Verdict
from connectivity_hooks.errors import UsageError
from connectivity_hooks.watching.loggers import loggers, scalars
from connectivity_hooks.watching.schedule import Clock


class Calls:
    """Remembers how it was called."""

    def __init__(self):
        self.calls = []


class TensorBoard(Calls):
    def add_scalar(self, tag, scalar_value, global_step=None):
        self.calls.append(({tag: scalar_value}, global_step))


class LightningModule(Calls):
    def log(self, name, value):
        raise AssertionError("log_dict is what was asked for")

    def log_dict(self, dictionary, prog_bar=False):
        self.calls.append((dictionary, None))

    def __call__(self, x):
        raise AssertionError("a module is no function of (scalars, step)")


class Fabric(Calls):
    def log_dict(self, metrics, step=None):
        self.calls.append((metrics, step))


class LightningLogger(Calls):
    def log_metrics(self, metrics, step=None):
        self.calls.append((metrics, step))


class WandB(Calls):
    def log(self, data, step=None, commit=None):
        self.calls.append((data, step))


class Accelerator(Calls):
    def log(self, values, step=None, log_kwargs=None):
        self.calls.append((values, step))


class Function(Calls):
    def __call__(self, values, step):
        self.calls.append((values, step))


@pytest.mark.parametrize("kind", [TensorBoard, LightningModule, Fabric, LightningLogger, WandB, Accelerator, Function])
def test_every_shape_of_logger_gets_the_scalars_and_the_step(kind):
    target = kind()
    (log,) = loggers(target)
    log({"a": 1.0, "b": 2.0}, 7)
    assert {name: value for values, _ in target.calls for name, value in values.items()} == {"a": 1.0, "b": 2.0}
    assert {step for _, step in target.calls} == ({None} if kind is LightningModule else {7})


def test_several_are_told_and_one_that_fails_spoils_nothing(net):
    first, last = WandB(), Function()

    def broken(values, step):
        raise RuntimeError("no network")

    watch = ch.watch(net, data(), conditions=[Mean()], every=1, log=[first, broken, last])
    with pytest.warns(UserWarning, match="a logger failed: RuntimeError: no network") as said:
        watch.step()
    watch.step()
    assert [step for _, step in first.calls] == [step for _, step in last.calls] == [1, 2]
    assert len(said) == 1


def test_what_is_logged_is_the_figure_and_whether_it_holds():
    verdicts = [
        Verdict("separability", "fc1", True, 0, 0, "samples"),
        Verdict("rank", None, False, 0.25, 0.5, "share"),
        Verdict.invalid("separability", "fc2", "its features hold NaN or Inf"),
    ]
    assert scalars(verdicts, Clock(step=3, spent=1.5)) == {
        "separability/fc1": 0.0,
        "separability/fc1/holds": 1.0,
        "rank/network": 0.25,
        "rank/network/holds": 0.0,
        "watch/seconds": 1.5,
    }


@pytest.mark.parametrize(
    ("log", "found"), [(3, "found int"), (object(), "found object"), (logging.getLogger(), "found a logging.Logger")]
)
def test_what_is_no_logger_is_refused_with_what_was_expected(net, log, found):
    with pytest.raises(
        UsageError, match=rf"expected a function of \(scalars, step\), an object with log_dict.*{found}"
    ):
        ch.watch(net, data(), log=log)


def test_a_real_tensorboard_writer(tmp_path, net):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    writer = tensorboard.SummaryWriter(str(tmp_path))
    with ch.watch(net, data(), conditions=[Mean()], log=writer, strict=True) as watch:
        watch.step()
    writer.close()
    assert any(tmp_path.iterdir())
