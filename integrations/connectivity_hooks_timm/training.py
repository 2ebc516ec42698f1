"""timm's own train.py, watched: what goes around its epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

import connectivity_hooks as ch
from connectivity_hooks.errors import UsageError
from connectivity_hooks.watching import Averages
from connectivity_hooks_timm.probe import held_by_cpu
from connectivity_hooks_timm.resuming import EpochStates


def watched_epochs(
    epochs: Sequence[int],
    task: nn.Module,
    optimizer: Optimizer,
    probe: Any = None,
    *,
    ema: bool | nn.Module = False,
    averages: bool | Averages = False,
    out: str | os.PathLike[str] | None = None,
    mode: Literal["probe", "training"] = "probe",
    samples: int = 1024,
    seed: int = 0,
    **watching: Any,
) -> Iterator[int]:
    """Yield the epochs of a training, and watch it from the first to the last; see `connectivity_hooks.watch`.

    Every step of `optimizer` is counted, so accumulated gradients count once and steps that a gradient scaler skips do
    not. After each epoch the counters are written to ``out/watch.json``; a training that begins at a later epoch goes
    on from there. A loop that is left early, by ``break`` or an exception, takes every hook off.

    Args:
        epochs: Numbers of the epochs, e.g. ``range(start_epoch, num_epochs)``.
        task: timm's training task; or, in scripts without one, the model. Compiled and distributed as it is trained.
        optimizer: What steps.
        probe: A timm loader, such as ``loader_eval``, or whatever `connectivity_hooks.watch` takes.
        ema: Look at the average of the weights instead: True for the task's own, or the average itself.
        averages: Compare the average with the trained weights as well: True for the task's own, or the average itself,
            or several by name; see `connectivity_hooks.watch`.
        out: Folder of the history, e.g. ``output_dir``.
        mode: ``probe``, or ``training`` for the features of the training's own forward passes.
        samples: As for `connectivity_hooks.watch`.
        seed: As for `connectivity_hooks.watch`.
        watching: Its other arguments: ``every``, ``conditions``, ``log``, ``save``, …

    Raises:
        InputError: As for `connectivity_hooks.watch`, or ``out/watch.json`` is none of ours.
        UsageError: As for `connectivity_hooks.watch`, or there is no average of the weights.
    """
    if not epochs:
        return
    average = _average(task, ema, "ema")
    compared = None if averages is False else _average(task, True, "averages") if averages is True else averages
    data = held_by_cpu(probe, samples, seed)
    asked: dict[str, Any] = {"ema": average, "averages": compared, "out": out, "mode": mode, **watching}
    watch = ch.watch(_network(task), data, samples=samples, seed=seed, **asked)
    states = EpochStates(out)
    state = states.before(epochs[0])
    if state is not None:
        watch.load_state_dict(state)
    targets: list[Tensor] = []
    hooks = [optimizer.register_step_post_hook(_counting(watch, targets))]
    if mode == "training":
        hooks.append(task.register_forward_pre_hook(lambda _, given: targets.extend(given[1:2])))
    try:
        with watch:
            for epoch in epochs:
                yield epoch
                watch.epoch()
                states.add(epoch + 1, watch.state_dict())
    finally:
        for hook in hooks:
            hook.remove()


def _counting(watch: ch.Watch, targets: list[Tensor]) -> Callable[..., None]:
    def stepped(*_: object) -> None:
        watch.step(list(targets) or None)
        targets.clear()

    return stepped


def _network(task: nn.Module, *, ema: bool = False) -> nn.Module:
    """Return the module that validation runs and checkpoints hold, without wrappers."""
    from timm.utils.model import unwrap_model

    evaluated = getattr(task, "get_eval_model", None)
    network: nn.Module = unwrap_model(evaluated(ema=ema) if callable(evaluated) else task)
    return network


def _average(task: nn.Module, ema: bool | nn.Module, argument: str) -> nn.Module | None:
    if ema is False:
        return None
    if isinstance(ema, nn.Module):
        return _network(ema)
    get = getattr(task, "get_trainable_module", None)
    if not callable(get) or get(ema=True) is None:
        raise UsageError(
            f"watched_epochs: {argument}=True, and {type(task).__name__} holds no average of the weights; train with "
            f"--model-ema, give the average itself, or leave {argument}= out"
        )
    return _network(task, ema=True)
