"""Two LoRA adapters on one base: the straight line, aligned under GL(r), and means of factors and of products.

A GPT-2 of characters is trained on the standard library's code, then adapted to the English of pydoc's topics, with
LoRA from several seeds. Nothing is downloaded. Pairs are measured on held-out text, in nats per character.

    python benchmarks/adapters.py --out runs/adapters
    python benchmarks/adapters.py --out runs/adapters --rank 4 --seeds 3
"""

import argparse
import copy
import itertools
import pathlib
import sysconfig
import time

import peft
import torch
import transformers as hf

import connectivity_hooks as ch
from connectivity_hooks.checkpoints import fit, read
from connectivity_hooks.model import mean_of_products
from connectivity_hooks.registry import registry
from connectivity_hooks.tasks import make_task

LENGTH, BATCH = 64, 32
TARGETS = ["c_attn", "c_proj", "c_fc"]


def windows(text, seed=0):
    """Return windows of characters (N, 65), shuffled; what is not ASCII is left out."""
    codes = torch.tensor([code for code in text.encode("ascii", "ignore") if code < 128])
    codes = codes[: len(codes) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)
    return codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))]


def code():
    """Return windows of the standard library's top-level modules."""
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return windows("".join(file.read_text(encoding="utf-8", errors="ignore") for file in files))


def english():
    """Return windows of pydoc's topics."""
    from pydoc_data.topics import topics

    return windows("\n".join(topics[name] for name in sorted(topics)))


def fit_to(model, samples, steps, rate, seed):
    """Train what is trainable with Adam, cosine from `rate` to 0."""
    torch.manual_seed(seed)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(own, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(steps):
        batch = samples[torch.randint(len(samples), (BATCH,))]
        loss = model(input_ids=batch[:, :-1], labels=batch[:, :-1]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def split(samples):
    """Return one batch: characters, and each next one as its label."""
    return [{"input_ids": samples[:, :-1], "labels": samples[:, 1:]}]


def loss_at(task, weights):
    """Return the loss on held-out text at some weights."""
    model, (inputs, targets) = task.model(), next(iter(task.test.batches(len(task.test))))
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    with torch.no_grad():
        return float(task.loss.terms(task.forward(model, inputs), targets).mean())


def train_all(out, args):
    """Train the base and the adapters, once."""
    config = hf.GPT2Config(
        vocab_size=128, n_positions=LENGTH, n_embd=args.width, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    if not (out / "base").exists():
        torch.manual_seed(0)
        fit_to(hf.GPT2LMHeadModel(config), code(), args.steps, 3e-3, 0).save_pretrained(out / "base")
    base, samples = hf.GPT2LMHeadModel.from_pretrained(out / "base"), english()
    for seed in range(args.seeds):
        where = out / f"r{args.rank}-seed{seed}"
        if not where.exists():
            torch.manual_seed(100 + seed)
            given = {"task_type": "CAUSAL_LM", "r": args.rank, "lora_alpha": 2 * args.rank, "target_modules": TARGETS}
            model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**given))
            fit_to(model, samples[500:], args.adapter_steps, args.rate, seed).save_pretrained(where)


def main():
    """Train what is missing, measure every pair, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--adapter-steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=5e-3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train_all(args.out, args)
    samples = english()
    folders = [args.out / f"r{args.rank}-seed{seed}" for seed in range(args.seeds)]
    task = make_task(
        model=f"peft:{folders[0]}?base={args.out / 'base'}", data=(split(samples[500:1000]), split(samples[:500]))
    )
    model = task.structure()
    pairs = registry().adapter_of(model).products(model)
    ends = [fit(read(folder), model).weights for folder in folders]
    for first, second in itertools.combinations(range(args.seeds), 2):
        for align in (None, "weight-matching"):
            started = time.perf_counter()
            path = ch.connect(folders[first], folders[second], task, align=align)
            seconds = time.perf_counter() - started
            found = ch.evaluate(path, task, points=13)
            losses = [one.loss for one in found.curves["test"]]
            print(
                f"rank {args.rank}, seeds {first} {second}, align {align}: ends {losses[0]:.3f} {losses[-1]:.3f}, "
                f"highest {max(losses):.3f}, half way {loss_at(task, path(0.5)):.3f}, length {found.length:.2f}, "
                f"made in {seconds:.1f} s",
                flush=True,
            )
        both = [ends[first], ends[second]]
        mean = mean_of_products(both, pairs)
        errors = list(mean.errors.values())
        print(
            f"rank {args.rank}, seeds {first} {second}, mean of products, cut to the rank: "
            f"{loss_at(task, {**both[0], **mean.weights}):.3f}, relative error {min(errors):.2f} to {max(errors):.2f}"
        )


if __name__ == "__main__":
    main()
