"""How long `connectivity-hooks --help` takes to start, beside the import of PyTorch alone, in turn.

python benchmarks/start_up.py [--repeats 5]
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "connectivity-hooks --help": ["-c", "from connectivity_hooks.cli import main; main()", "--help"],
    "import torch": ["-c", "import torch"],
}


def seconds(arguments):
    """Return the seconds of one process, from start to end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    taken = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    ours, plain = (statistics.median(times) for times in taken.values())
    print(f"help {ours:.2f} s, import torch {plain:.2f} s, ratio {ours / plain:.3f} ({repeats} pairs)")


if __name__ == "__main__":
    main()
