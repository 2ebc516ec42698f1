"""Spoiling the input of a reader many times: every run ends well or in an error of ours, soon, and in little memory."""

import collections
import contextlib
import random
import resource
import signal
import traceback
import warnings
import zlib

from readers import READERS

from connectivity_hooks.errors import ConnectivityError

# Reading such small files takes milliseconds, a drawing up to seconds on a busy machine.
SECONDS = 60


class TooLong(BaseException):
    """A run took longer than `SECONDS`."""


def fuzz(name, folder, count, seed=0):
    """Return ({"accepted": …, "refused": …}, faults): a fault is (number of the run, the exception in lines)."""
    reader = READERS[name](folder)
    with quiet():
        reader.unspoiled(random.Random(seed))
        outcomes, faults = collections.Counter(), []
        before = peak()
        for number in range(count):
            outcome, fault = one(reader, random.Random(zlib.crc32(f"{name}/{seed}/{number}".encode())))
            outcomes[outcome] += 1
            faults += [(number, fault)] if fault else []
    if peak() - before > reader.megabytes:
        faults.append((-1, f"{peak() - before:.0f} MB more were taken than for the valid input"))
    return outcomes, faults


def one(reader, rng):
    """Spoil and read once."""
    try:
        with limited():
            reader.once(rng)
    except ConnectivityError as error:
        if "\n" in str(error):
            return "fault", f"an error of more than one line: {error!r}"
        return "refused", None
    except (Exception, TooLong):
        return "fault", traceback.format_exc()
    return "accepted", None


@contextlib.contextmanager
def limited():
    """Interrupt what takes longer than `SECONDS`."""

    def stop(number, frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def quiet():
    """Silence remarks on numbers and fonts: spoiled reports hold odd ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def peak():
    """Return the most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
