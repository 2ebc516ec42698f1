"""Tiny networks of Transformers' architectures, made from their configurations: nothing is downloaded.

Widths are unlike each other, so that no axis is taken for another by its length alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

TOKENS = {"vocab_size": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDE, HIDDEN, HEADS, LAYERS = 24, 40, 3, 2
ENCODER = {
    "hidden_size": WIDE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": HIDDEN,
}  # fmt: skip
TEXT = {**TOKENS, **ENCODER, "max_position_embeddings": 20}
DECODER = {**TEXT, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
IMAGE = {**ENCODER, "image_size": 16, "patch_size": 4, "num_labels": 5}


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Attributes:
        make: Makes the model.
        inputs: A batch of three samples by the names of the model's arguments.
        pick: Which of what it returns are its outputs.
    """

    make: Callable[[], nn.Module]
    inputs: dict[str, Tensor]
    pick: str | None = None


def words(length: int = 7, **more: Tensor) -> dict[str, Tensor]:
    """Return three sentences, the second and third padded."""
    mask = torch.ones(3, length, dtype=torch.long)
    mask[1, -2:], mask[2, -1:] = 0, 0
    tokens = torch.arange(3 * length).view(3, length) * 7 % 27 + 3
    return {"input_ids": tokens, "attention_mask": mask, **more}


def asked(**more: Tensor) -> dict[str, Tensor]:
    """Return three questions of an encoder and the beginnings of three answers."""
    return words(decoder_input_ids=torch.arange(12).view(3, 4) * 5 % 27 + 3, **more)


def pixels(size: int = 16) -> dict[str, Tensor]:
    """Return three images."""
    return {"pixel_values": _noise(3, 3, size, size)}


def sounds(**more: Tensor) -> dict[str, Tensor]:
    """Return three spectrograms, and the beginnings of three texts."""
    return {"input_features": _noise(3, 6, 16), "decoder_input_ids": torch.arange(12).view(3, 4) * 5 % 27 + 3, **more}


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _sides(**values: Any) -> dict[str, Any]:
    return {f"{side}_{what}": value for side in ("encoder", "decoder") for what, value in values.items()}


def _gpt2() -> nn.Module:
    return hf.GPT2LMHeadModel(hf.GPT2Config(**TOKENS, n_positions=20, n_embd=WIDE, n_layer=LAYERS, n_head=HEADS))


def _llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER))


def _t5(**more: Any) -> nn.Module:
    config = hf.T5Config(
        **TOKENS, d_model=WIDE, d_kv=8, d_ff=HIDDEN, num_layers=LAYERS, num_heads=HEADS, decoder_start_token_id=0, **more
    )  # fmt: skip
    return hf.T5ForConditionalGeneration(config)


def _clip() -> nn.Module:
    text = {**TEXT, "projection_dim": 10}
    image = {**ENCODER, "hidden_size": 32, "num_attention_heads": 4, "image_size": 16, "patch_size": 4}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=image, projection_dim=10))


def _whisper() -> nn.Module:
    config = hf.WhisperConfig(
        **TOKENS, **_sides(layers=LAYERS, attention_heads=HEADS, ffn_dim=HIDDEN), d_model=WIDE, num_mel_bins=6,
        max_source_positions=8, max_target_positions=10, decoder_start_token_id=1,
    )  # fmt: skip
    return hf.WhisperForConditionalGeneration(config)


def _bart() -> nn.Module:
    config = hf.BartConfig(
        **TOKENS, **_sides(layers=LAYERS, attention_heads=HEADS, ffn_dim=HIDDEN), d_model=WIDE,
        max_position_embeddings=20, decoder_start_token_id=2,
    )  # fmt: skip
    return hf.BartForConditionalGeneration(config)


def _wav2vec2() -> nn.Module:
    config = hf.Wav2Vec2Config(
        **TEXT, conv_dim=(10, 12), conv_stride=(4, 2), conv_kernel=(6, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, do_stable_layer_norm=False,
    )  # fmt: skip
    return hf.Wav2Vec2ForCTC(config)


def _swin() -> nn.Module:
    config = hf.SwinConfig(
        image_size=32, patch_size=4, embed_dim=12, depths=[2, 2], num_heads=[2, 3], window_size=2, num_labels=5
    )
    return hf.SwinForImageClassification(config)


def _segformer() -> nn.Module:
    config = hf.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 2], sr_ratios=[2, 1], hidden_sizes=[12, 18], num_attention_heads=[2, 3],
        patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2], decoder_hidden_size=20, num_labels=5,
    )  # fmt: skip
    return hf.SegformerForSemanticSegmentation(config)


def _convnext() -> nn.Module:
    config = hf.ConvNextConfig(num_stages=2, hidden_sizes=[12, 20], depths=[1, 2], patch_size=4, num_labels=5)
    return hf.ConvNextForImageClassification(config)


def _modernbert() -> nn.Module:
    config = hf.ModernBertConfig(
        **{**TEXT, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 4, "global_attn_every_n_layers": 2}
    )
    return hf.ModernBertForMaskedLM(config)


def _deberta() -> nn.Module:
    config = hf.DebertaV2Config(
        **TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4, position_biased_input=False
    )
    return hf.DebertaV2ForSequenceClassification(config)


def _gemma() -> nn.Module:
    config = hf.Gemma3TextConfig(**{**DECODER, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]})
    return hf.Gemma3ForCausalLM(config)


NETWORKS: dict[str, Network] = {
    "BERT, classification": Network(lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)), words()),
    "BERT, masked words": Network(lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)), words()),
    "DistilBERT": Network(
        lambda: hf.DistilBertForSequenceClassification(
            hf.DistilBertConfig(vocab_size=30, dim=WIDE, n_layers=LAYERS, n_heads=HEADS, hidden_dim=HIDDEN)
        ), words(),
    ),
    "RoBERTa": Network(lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT)), words()),
    "ELECTRA": Network(
        lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**TEXT, embedding_size=18)), words()
    ),
    "ALBERT": Network(
        lambda: hf.AlbertForSequenceClassification(hf.AlbertConfig(**TEXT, embedding_size=18)), words()
    ),
    "DeBERTa-v2": Network(_deberta, words()),
    "ModernBERT": Network(_modernbert, words()),
    "GPT-2": Network(_gpt2, words()),
    "GPT-NeoX": Network(lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**TEXT)), words()),
    "OPT": Network(
        lambda: hf.OPTForCausalLM(
            hf.OPTConfig(
                **TOKENS, hidden_size=WIDE, num_hidden_layers=LAYERS, num_attention_heads=HEADS, ffn_dim=HIDDEN,
                max_position_embeddings=20, word_embed_proj_dim=WIDE,
            )
        ), words(),
    ),
    "Llama": Network(_llama, words()),
    "Mistral": Network(lambda: hf.MistralForCausalLM(hf.MistralConfig(**DECODER, sliding_window=4)), words()),
    "Qwen2": Network(
        lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**{k: v for k, v in DECODER.items() if k != "head_dim"})), words()
    ),
    "Qwen3": Network(lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**DECODER)), words()),
    "Gemma": Network(lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**DECODER)), words()),
    "Gemma 3": Network(_gemma, words()),
    "Phi": Network(lambda: hf.PhiForCausalLM(hf.PhiConfig(**TEXT)), words()),
    "T5": Network(_t5, asked()),
    "T5 v1.1": Network(lambda: _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False), asked()),
    "BART": Network(_bart, asked()),
    "Whisper": Network(_whisper, sounds()),
    "Wav2Vec2": Network(_wav2vec2, {"input_values": _noise(3, 160)}),
    "ViT": Network(lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)), pixels()),
    "DeiT": Network(lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**IMAGE)), pixels()),
    "DINOv2": Network(lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**IMAGE)), pixels()),
    "BEiT": Network(lambda: hf.BeitForImageClassification(hf.BeitConfig(**IMAGE)), pixels()),
    "Swin": Network(_swin, pixels(32)),
    "CLIP": Network(_clip, {**words(), **pixels()}, "logits_per_text"),
    "SegFormer": Network(_segformer, pixels(32)),
    "ConvNeXt": Network(_convnext, pixels(32)),
}  # fmt: skip
