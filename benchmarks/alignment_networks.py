"""Networks that benchmarks/alignment.py aligns, and the text for one of them.

Named on the command line as ``benchmarks/alignment_networks.py:vit``; the other networks are those of networks.py.
"""

import pathlib
import sysconfig

import numpy as np
import torch
from torch import nn

from connectivity_hooks.tasks import CachedSplit

STREAM, BLOCKS, HEADS, RATIO = 64, 3, 4, 2.0
CHARACTERS = 64  # of one sample of the text
VOCABULARY = 97  # 95 printable characters, the new line, and one for all others
OTHER, NEW_LINE = 0, 96


def vit():
    """Return timm's vision transformer of 3 pre-norm blocks of 64, for images 1×28×28 in 16 patches."""
    from timm.models.vision_transformer import VisionTransformer

    image = {"img_size": 28, "patch_size": 7, "in_chans": 1, "num_classes": 10}
    return VisionTransformer(**image, embed_dim=STREAM, depth=BLOCKS, num_heads=HEADS, mlp_ratio=RATIO)


class CharacterGPT(nn.Module):
    """A causal transformer of timm's blocks; its head is untied and has no bias to take the last norm's."""

    def __init__(self):
        from timm.models.vision_transformer import Block

        super().__init__()
        self.tok = nn.Embedding(VOCABULARY, STREAM)
        self.pos_embed = nn.Parameter(torch.randn(1, CHARACTERS, STREAM) * 0.02)
        self.blocks = nn.ModuleList(Block(STREAM, HEADS, RATIO, qkv_bias=True) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(STREAM)
        self.head = nn.Linear(STREAM, VOCABULARY, bias=False)
        for weight in (self.tok.weight, self.head.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, codes):
        """Return logits (N, T, 97) of the character after each of `codes` (N, T)."""
        stream = self.tok(codes) + self.pos_embed[:, : codes.shape[1]]
        for block in self.blocks:
            stream = block(stream, is_causal=True)
        return self.head(self.norm(stream))


def gpt():
    """Return the character GPT."""
    return CharacterGPT()


def plain_mlp(depth=7, width=128, inputs=784, classes=10):
    """Return a fully connected ReLU network with PyTorch's own initial weights, as Jordan et al. (2023) train it."""
    layers = [nn.Flatten()]
    for before in [inputs, *[width] * (depth - 1)]:
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def text(length=4_000_000):
    """Return samples of 64 characters of the standard library's own code, and of each the character that follows.

    The first `length` characters of its top-level modules, cut into pieces, of which a tenth, drawn at random, is for
    testing. Other versions of Python have other text.
    """
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    whole = "".join(file.read_text(encoding="utf-8", errors="ignore") for file in files)[:length]
    pieces = codes_of(whole)
    pieces = pieces[torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))]
    held = len(pieces) * 9 // 10
    return {
        name: CachedSplit(name, rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        for name, rows in (("train", pieces[:held]), ("test", pieces[held:]))
    }


def codes_of(characters):
    """Return the codes of a text in pieces (N, 65): 64 characters, each of which is followed by one."""
    ascii_codes = np.frombuffer(characters.encode("ascii", "ignore"), dtype=np.uint8).astype(np.int64)
    printable = (ascii_codes >= ord(" ")) & (ascii_codes <= ord("~"))
    codes = np.where(printable, ascii_codes - ord(" ") + 1, np.where(ascii_codes == ord("\n"), NEW_LINE, OTHER))
    count = len(codes) // (CHARACTERS + 1)
    return torch.from_numpy(codes[: count * (CHARACTERS + 1)]).view(count, CHARACTERS + 1)
