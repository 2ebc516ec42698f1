"""A language model of LSTMs from two seeds: perplexity along the straight line and along curves between them.

The text is the standard library's own code, cut into words. Garipov et al. (2018, arXiv 1802.10026) have the same of
the Penn Treebank. Ends are trained once and kept in --out; a curve gets --share of the steps of one end.

    python benchmarks/language_model.py --out runs/lstm
    python benchmarks/language_model.py --out runs/lstm --device cuda --tokens 1000000 --width 512
"""

import argparse
import collections
import math
import pathlib
import re
import sysconfig
import time
from dataclasses import replace

import torch
from measured_paths import Results, measured
from torch import nn
from training import train

import connectivity_hooks as ch
from connectivity_hooks.tasks import CachedSplit

LENGTH = 35  # words that follow each other in one sample, as in the usual treatment of the Penn Treebank
BATCH = 64
WORD = re.compile(r"\w+|[^\w\s]|\n")


class WordLSTM(nn.Module):
    """An embedding, LSTM layers that begin with zeros at every sample, and a linear map to all words."""

    def __init__(self, words, width, layers):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, words)

    def forward(self, codes):
        """Return logits (N, T, W) of the word after each of `codes` (N, T)."""
        return self.head(self.lstm(self.embedding(codes))[0])


def lstm(words=2000, width=128, layers=2):
    """Return the language model."""
    return WordLSTM(words, width, layers)


def text(tokens=300_000, words=2000):
    """Return samples of 35 words each of the standard library's top-level modules, and the word after each of them.

    The commonest words have a code of their own, all others share one. A tenth of the samples, drawn at random, is for
    testing. Other versions of Python have other text.
    """
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    found = [word for file in files for word in WORD.findall(file.read_text(encoding="utf-8", errors="ignore"))][
        :tokens
    ]
    commonest = collections.Counter(found).most_common(words - 1)
    codes = {word: code for code, (word, _) in enumerate(commonest, start=1)}
    count = (len(found) - 1) // LENGTH
    stream = torch.tensor([codes.get(word, 0) for word in found])
    inputs, targets = (stream[first : first + count * LENGTH].view(count, LENGTH) for first in (0, 1))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    parts = {"train": order[: count * 9 // 10], "test": order[count * 9 // 10 :]}
    return {name: CachedSplit(name, inputs[rows], targets[rows]) for name, rows in parts.items()}


def ends_of(task, arguments):
    """Return the files of two ends, trained if they are not there."""
    files = [arguments.out / f"{seed}.safetensors" for seed in (1, 2)]
    for seed, file in enumerate(files, start=1):
        if not file.exists():
            started = time.perf_counter()
            ch.save(train(task, seed, arguments.epochs, BATCH, arguments.peak), file)
            print(f"trained end {seed} in {time.perf_counter() - started:.0f} s", flush=True)
    return files


def row_of(row):
    """Return a line of the table."""
    cells = [row["align"], row["builder"]]
    for split in ("train", "test"):
        cells.append(", ".join(f"{math.exp(loss):.2f}" for loss in row[f"{split}_loss_ends"]))
        cells.append(f"**{math.exp(row[f'{split}_loss_max']):.2f}**")
    cells += [f"{row['test_loss_t']:.2f}", f"{row['built_s']:.0f}"]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6, help="of an end")
    parser.add_argument("--peak", type=float, default=4e-3, help="largest rate of an end's training, by Adam")
    parser.add_argument("--share", type=float, default=0.2, help="steps of a curve, as a share of those of one end")
    parser.add_argument("--align", nargs="+", default=["none"])
    parser.add_argument("--builders", nargs="+", default=["linear", "bezier", "polychain"])
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--samples", type=int, default=1400, help="of the training split that are measured")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    task = ch.make_task(
        model=f"{__file__}:lstm?words={arguments.words}&width={arguments.width}&layers={arguments.layers}",
        data=f"{__file__}:text?tokens={arguments.tokens}&words={arguments.words}",
        device=arguments.device,
    )
    files = ends_of(task, arguments)
    steps = arguments.epochs * (len(task.train) // BATCH)
    trained = {"budget": f"{round(arguments.share * steps)}steps", "batch_size": BATCH}
    part = replace(task, train=task.train.sample(min(arguments.samples, len(task.train)), 0))
    results = Results(arguments.out / "results.json")
    print(f"{steps} steps an end, {trained['budget']} a curve; {len(task.train)} samples, {len(task.test)} for testing")
    print("| align | builder | train perplexity: ends | largest | test: ends | largest | at t | built, s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for align in arguments.align:
        for builder in arguments.builders:
            how = {"align": align, "builder": builder, "options": {} if builder == "linear" else trained}
            row = results.row(how, lambda how=how: measured(files, task, part, points=arguments.points, **how))
            print(row_of(row), flush=True)


if __name__ == "__main__":
    main()
