"""Spoils the input of every reader many times and counts what comes of it; see tests/support/fuzzing.py.

python benchmarks/fuzz_readers.py --count 20000 [--reader path --reader npz] [--seed 0]
"""

import argparse
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "support"))

from fuzzing import fuzz, peak
from readers import READERS


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--reader", action="append", choices=list(READERS))
    arguments.add_argument("--shown", type=int, default=3, help="faults shown of each reader")
    given = arguments.parse_args()
    failed = False
    for name in given.reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            outcomes, faults = fuzz(name, pathlib.Path(folder) / "it", given.count, given.seed)
        figures = ", ".join(f"{outcomes[kind]} {kind}" for kind in ("refused", "accepted", "fault"))
        print(f"{name}: {figures}; {time.perf_counter() - started:.0f} s, peak {peak():.0f} MB", flush=True)
        for number, fault in faults[: given.shown]:
            print(f"  run {number}: {fault}", flush=True)
        failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
