"""Two GPT-2s of Transformers in perplexity along the line between them: from two seeds, and fine-tuned from one start.

The text is the standard library's own code, character by character. Networks are made from a configuration, trained
here and saved by ``save_pretrained``; they are read again as any folder is. What was trained and measured is kept in
--out.

    python benchmarks/gpt2_pairs.py --out runs/gpt2
"""

import argparse
import math
import pathlib
import time
from dataclasses import replace

import torch
import transformers as hf
from alignment_networks import VOCABULARY, text
from measured_paths import Results, measured

import connectivity_hooks as ch

BATCH = 16


def gpt2():
    """Return a GPT-2 of two blocks without dropout."""
    size = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
    calm = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCABULARY, **size, **calm, **ends))


def batches(train=1000, test=1000):
    """Return samples as Transformers' models take them, each character with the one that follows as its label."""
    given = text()
    caps = {"train": train, "test": test}
    return {
        name: [
            {"input_ids": inputs, "labels": targets}
            for inputs, targets in split.sample(min(caps[name], len(split)), 0).batches(250)
        ]
        for name, split in given.items()
    }


def trained(start, samples, seed, steps, peak):
    """Return a copy of a network after AdamW with warm-up, a cosine, and gradients clipped to length 1."""
    model = gpt2()
    if start is not None:
        model.load_state_dict(start.state_dict())
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), peak, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.05)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(samples), (BATCH,), generator=generator)
        inputs, targets = samples.inputs[rows], samples.targets()[rows]
        loss = torch.nn.functional.cross_entropy(model(input_ids=inputs).logits.transpose(1, 2), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def folder_of(out, name, seed, start, steps, peak):
    """Return the folder of a network, trained if it is not there."""
    folder = out / name
    if not (folder / "model.safetensors").exists():
        begun = time.perf_counter()
        torch.manual_seed(seed)
        before = None if start is None else hf.GPT2LMHeadModel.from_pretrained(start)
        trained(before, text()["train"], seed, steps, peak).save_pretrained(folder)
        print(f"trained {name}: {steps} steps in {time.perf_counter() - begun:.0f} s", flush=True)
    return folder


def row_of(row):
    """Return a line of the table."""
    cells = [row["pair"], row["align"]]
    for split in ("train", "test"):
        cells.append(", ".join(f"{math.exp(loss):.3f}" for loss in row[f"{split}_loss_ends"]))
        cells.append(f"**{math.exp(row[f'{split}_loss_max']):.3f}**")
    return f"| {' | '.join(cells)} | {row['built_s']:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=2000, help="of a network from a seed")
    parser.add_argument("--tuning", type=int, default=500, help="steps of one that goes on from another")
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument(
        "--align", nargs="+", default=["none", "weight-matching", "activation-matching", "learned-matching"]
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    how = {"steps": arguments.steps, "peak": arguments.peak}
    seeds = [folder_of(arguments.out, f"seed{seed}", seed, None, **how) for seed in (1, 2)]
    tuned = {"steps": arguments.tuning, "peak": arguments.peak / 4}
    copies = [folder_of(arguments.out, f"tuned{seed}", seed, seeds[0], **tuned) for seed in (11, 12)]
    task = ch.make_task(model=f"transformers:{seeds[0]}", data=f"{__file__}:batches")
    part = replace(task, train=task.train.sample(min(1000, len(task.train)), 0))
    results = Results(arguments.out / "results.json")
    print("| ends | align | train perplexity: ends | largest | test: ends | largest | aligned and built, s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for pair, files in {"two seeds": seeds, "tuned from seed 1": copies}.items():
        for align in arguments.align if files is seeds else ["none"]:
            key = {"pair": pair, "align": align}
            found = results.row(
                key,
                lambda files=files, align=align: measured(
                    files, task, part, builder="linear", options={}, align=align, points=arguments.points
                ),
            )
            print(row_of(found), flush=True)


if __name__ == "__main__":
    main()
