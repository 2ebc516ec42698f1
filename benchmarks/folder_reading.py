"""Peak memory and time of reading two folders of Transformers, up to the ends' losses, against plain reading.

python benchmarks/folder_reading.py --network bert

Each measurement is a process of its own, after one that reads both files so that they are in the system's cache. The
model of a tiny configuration gives what the libraries themselves take.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import torch
import transformers as hf

PROGRAM = """
import json, time
import torch
import connectivity_hooks as ch
from connectivity_hooks.checkpoints import read
from connectivity_hooks.connecting import load_pair
import transformers.models.{kind}.modeling_{kind}

generator = torch.Generator().manual_seed(0)
batch = {{"labels": torch.zeros(2, dtype=torch.long)}}
if "{kind}" == "vit":
    batch["pixel_values"] = torch.randn(2, 3, 32, 32, generator=generator)
else:
    batch["input_ids"] = torch.randint(3, 30, (2, 8), generator=generator)
    batch["labels"] = batch["input_ids"] if "{kind}" == "mixtral" else batch["labels"]

started = time.perf_counter()
ends = [read(name) for name in ("a", "b")]
task = ch.make_task(model="transformers:a", data=lambda: ([batch], [batch]), checkpoints=ends)
pair = load_pair(*ends, task)
read_at = time.perf_counter() - started
path = ch.Path.from_points([pair.a, pair.b])
ch.evaluate(path, task, points=2, refine=0)
total = time.perf_counter() - started
words = open("/proc/self/status").read().split()  # ru_maxrss would have the parent's from before the exec
print(json.dumps([read_at, total, int(words[words.index("VmHWM:") + 1]) * 1024]))
"""


def network(kind, small):
    """Return a network of about 400 MB in float32, or a tiny one."""
    size = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 12}
    if not small:
        size |= {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 14}
    if kind == "bert":
        return hf.BertForSequenceClassification(hf.BertConfig(**size, vocab_size=30 if small else 4000))
    if kind == "vit":
        return hf.ViTForImageClassification(hf.ViTConfig(**size, image_size=32))
    size = {**size, "num_key_value_heads": 4, "vocab_size": 30, "num_local_experts": 4}
    if not small:
        size |= {"num_hidden_layers": 4, "intermediate_size": 2500}
    return hf.MixtralForCausalLM(hf.MixtralConfig(**size))


def measured(kind, small):
    """Return seconds of reading plainly, until the ends are read and until both are measured, the peak, and bytes.

    The last is the size of one model.
    """
    with tempfile.TemporaryDirectory() as folder:
        for seed, end in enumerate("ab"):
            torch.manual_seed(seed)
            network(kind, small).save_pretrained(f"{folder}/{end}")
        files = [pathlib.Path(folder) / end / "model.safetensors" for end in "ab"]
        for _ in range(2):
            started = time.perf_counter()
            for file in files:
                file.read_bytes()
            plain = time.perf_counter() - started
        program = [sys.executable, "-c", PROGRAM.format(kind=kind)]
        done = subprocess.run(program, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        return plain, *json.loads(done.stdout.splitlines()[-1]), files[0].stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", action="append", choices=["bert", "vit", "mixtral"])
    given = parser.parse_args()
    for kind in given.network or ["bert", "vit", "mixtral"]:
        _, _, _, base, _ = measured(kind, small=True)
        plain, read_at, total, peak, size = measured(kind, small=False)
        print(
            f"{kind}, {size / 1e6:.0f} MB: both files {plain:.2f} s; ends read {read_at:.2f} s, both ends measured "
            f"{total:.2f} s; peak {peak / 1e6:.0f} MB, with a tiny network {base / 1e6:.0f} MB: "
            f"{(peak - base) / size:.2f} models",
            flush=True,
        )


if __name__ == "__main__":
    main()
