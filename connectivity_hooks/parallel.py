"""Threads: several work on different batches at once, so that no figure depends on how many they are.

PyTorch divides every operation among its threads. Operations of a small network are too short for it: beside a busy
process each one waits for the thread that just lost its core. Here one thread computes an operation, and others take
the next batches; how many pays is found by a short trial. Large networks are left to PyTorch.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.model.inputs import Inputs, mapped, named_tensors, rows_of, taken
from connectivity_hooks.model.running import PLAIN, Forward
from connectivity_hooks.strangers import Pass, guarded_call, unlike_floats
from connectivity_hooks.structure.untouched import Attributes

T = TypeVar("T")
Batch: TypeAlias = tuple[Inputs, Tensor]
Scored: TypeAlias = tuple[Tensor, Tensor]
"""Outputs and targets."""

_LARGE = 1e10
"""Multiplications and additions of a pass over a batch: about 0.1 s of one core, so some milliseconds for each layer.
Shorter operations wait longer than they take where a core is lost for a scheduler's slice, a few milliseconds."""

_ROUNDS = 5  # odd, for the median
_ENOUGH = 0.1  # seconds a trial may take; at least one round is made
_BETTER = 0.9  # more threads have to be faster by a tenth: less is noise

_asked: ContextVar[int | None] = ContextVar("asked", default=None)
_whole: ContextVar[int | None] = ContextVar("whole", default=None)


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Compute with `count` threads in the block, without a trial; PyTorch's own setting comes back after it.

    Without this, at most ``torch.get_num_threads()`` are used.

    Args:
        count: Threads of the processor; None changes nothing.

    Raises:
        UsageError: `count` is less than 1.
    """
    if count is None:
        yield
        return
    if count < 1:
        raise UsageError(f"threads: expected 1 or more, found {count}")
    before, token = torch.get_num_threads(), _asked.set(count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _asked.reset(token)


def most() -> int:
    """Return how many threads may work side by side."""
    return _whole.get() or torch.get_num_threads()


def is_undivided() -> bool:
    """Say whether operations are kept whole here, see `undivided`."""
    return _whole.get() is not None


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Let each operation of this thread be computed by one thread in the block: its result depends on no setting."""
    before = torch.get_num_threads()
    token = _whole.set(most())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _whole.reset(token)


def is_small(model: nn.Module, inputs: Inputs, samples: int, run: Forward = PLAIN) -> bool:
    """Say whether the operations of a pass over so many samples are too short to be divided; no clock is asked.

    Args:
        model: The module, in evaluation mode.
        inputs: A few samples; their operations are counted.
        samples: Samples of a batch.
        run: How the module is run.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, for which ``--help`` would wait

    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), counter:
            run(model, mapped(torch.clone, inputs))
    except Exception:  # a stranger's module that cannot be counted is left to PyTorch
        return False
    return 0 < counter.get_total_flops() * samples <= _LARGE * rows_of(inputs)


def kept_whole(
    model: nn.Module, inputs: Inputs, samples: int, run: Forward = PLAIN
) -> contextlib.AbstractContextManager[None]:
    """Return `undivided` where batches of the module are small and on the processor, else a block that does nothing.

    Args:
        model: The module, in evaluation mode.
        inputs: A few samples.
        samples: Samples of a batch.
        run: How the module is run.
    """
    small = _on_the_processor(inputs) and most() > 1 and is_small(model, inputs, samples, run)
    return undivided() if small else contextlib.nullcontext()


def fastest(seconds: Callable[[int], float], counts: Sequence[int]) -> int:
    """Return the count with the least median of `seconds`, tried in turn; a larger one has to be better by a tenth."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for count in counts:
            found[count].append(seconds(count))
        if time.perf_counter() - started > _ENOUGH:
            break
    best = counts[0]
    for count in counts[1:]:
        if statistics.median(found[count]) < _BETTER * statistics.median(found[best]):
            best = count
    return best


class SideBySide:
    """Runs a module on several batches at once, with outputs that do not depend on how many.

    A context manager: inside, the operations of this thread are undivided too. Every thread has a copy of the module
    that shares its tensors, so weights may be written in place between two passes. Modules with large operations run on
    one batch at a time, divided by PyTorch; and so does everything on another device than the processor.

    Args:
        model: The module, in evaluation mode.
        inputs: Of a batch.
        run: How the module is run.

    Attributes:
        count: Threads that compute.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, run: Forward = PLAIN) -> None:
        self.count = torch.get_num_threads()
        self._model, self._inputs, self._forward = model, inputs, run
        self._few = taken(inputs, slice(2))
        self._attributes = Attributes(model)
        self._free: SimpleQueue[nn.Module] = SimpleQueue()
        self._free.put(model)
        self._pool: ThreadPoolExecutor | None = None

    def batch(self) -> Inputs:
        """Return the inputs of the batch it was made for, to be read only."""
        return self._inputs

    def __enter__(self) -> SideBySide:
        with contextlib.ExitStack() as scope:
            scope.enter_context(kept_whole(self._model, self._few, rows_of(self._inputs), self._forward))
            if is_undivided():
                copies = _sharing(self._model, self._few, most() - 1, self._forward)
                # What a pass leaves in the module, such as a table made of its weights, would be each copy's own.
                self.count = self._how_many(copies if self._attributes.are_as_they_were() else [])
                self._pool = _pool(self.count) if self.count > 1 else None
            self._scope = scope.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self._scope.close()

    def outputs(self, batches: Iterable[Batch]) -> Iterator[Scored]:
        """Yield (outputs, targets) for batches of (inputs, targets), in order; two more than `count` are held."""
        yield from self.each(self._outputs, batches)

    def each(self, work: Callable[[nn.Module, Batch], T], batches: Iterable[Batch]) -> Iterator[T]:
        """Yield what `work` makes of the module, or a copy that shares its tensors, and of each batch, in order.

        Args:
            work: Called by several threads at a time, each with a module that no other has meanwhile.
            batches: Of (inputs, targets).
        """
        if self._pool is None:
            yield from (self._with_module(work, batch) for batch in batches)
            return
        working: deque[Future[T]] = deque()
        try:
            for batch in batches:
                working.append(self._pool.submit(self._with_module, work, batch))
                if len(working) > self.count:
                    yield working.popleft().result()
            while working:
                yield working.popleft().result()
        finally:  # whoever asked may write to the weights next: nobody may be reading them
            for future in working:
                if not future.cancel():
                    future.exception()

    def _how_many(self, copies: Sequence[nn.Module]) -> int:
        """Return how many threads work: as many as were asked for, or the fastest; at most one for each copy."""
        for each in copies:
            self._free.put(each)
        largest = 1 + len(copies)
        if largest == 1 or _asked.get() is not None:
            return largest
        batch = (self._inputs, torch.empty(0))
        with _pool(largest) as pool:

            def seconds(count: int) -> float:
                started = time.perf_counter()
                deque(pool.map(partial(self._with_module, self._outputs), [batch] * count), maxlen=0)
                return (time.perf_counter() - started) / count

            seconds(largest)  # threads start, memory is taken
            return fastest(seconds, [*_powers_below(largest), largest])

    @torch.no_grad()
    def _with_module(self, work: Callable[[nn.Module, Batch], T], batch: Batch) -> T:
        model = self._free.get()
        try:
            return work(model, batch)
        finally:
            self._free.put(model)

    def _outputs(self, model: nn.Module, batch: Batch) -> Scored:
        inputs, targets = batch
        with guarded_call(Pass(model, inputs)):
            outputs = self._forward(model, inputs)
        found = unlike_floats(outputs)
        if found is not None:
            raise InputError(f"{Pass(model, inputs)}: returned {found}, expected a plain tensor of floats")
        return outputs, targets


def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))  # holds for each thread alone


def _powers_below(count: int) -> list[int]:
    return [1 << power for power in range(count.bit_length()) if 1 << power < count]


def _sharing(model: nn.Module, inputs: Inputs, count: int, run: Forward) -> list[nn.Module]:
    """Return copies of a module that share its tensors, and nothing else that a forward pass may write to.

    None where a copy is not what the module is: it cannot be copied, holds tensors of its own, or is random.
    """
    known = {id(tensor): tensor for module in model.modules() for tensor in _tensors(vars(module))}
    try:
        copies = [copy.deepcopy(model, dict(known)) for _ in range(count)]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            expected, *found = (run(each, mapped(torch.clone, inputs)) for each in (model, *copies[:1]))
            alike = all(torch.equal(each, expected) for each in found)
    except Exception:  # a stranger's module may refuse to be copied in any way
        return []
    return copies if alike and all(_places(each) == _places(model) for each in copies) else []


def _on_the_processor(inputs: Inputs) -> bool:
    return all(tensor.device.type == "cpu" for _, tensor in named_tensors(inputs))


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _places(model: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
