"""Language models of Transformers are read whole, and refused by the certified builder for what a person would name."""

import pytest
import torch
import transformers as hf
from torch import nn

from connectivity_hooks.errors import InputError
from connectivity_hooks.structure import read_program, read_spaces
from connectivity_hooks_theorem.certified.network.reading import read_network


class Logits(nn.Module):
    """A model that takes one tensor and gives one; T5 and Whisper decode a fixed start."""

    def __init__(self, model, decodes):
        super().__init__()
        self.model, self.decodes = model, decodes

    def forward(self, x):
        start = {"decoder_input_ids": torch.ones(len(x), 3, dtype=torch.long)} if self.decodes else {}
        return self.model(x, use_cache=False, **start).logits


SMALL = {"vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def gpt2():
    return hf.GPT2LMHeadModel(hf.GPT2Config(**SMALL, n_positions=16, n_embd=8, n_layer=1, n_head=2))


def llama():
    config = hf.LlamaConfig(
        **SMALL, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    return hf.LlamaForCausalLM(config)


def t5():
    config = hf.T5Config(**SMALL, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, decoder_start_token_id=1)
    return hf.T5ForConditionalGeneration(config)


def whisper():
    sides = {f"{side}_{what}": value for side in ("encoder", "decoder") for what, value in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 12))}  # fmt: skip
    config = hf.WhisperConfig(
        **SMALL, **sides, d_model=8, num_mel_bins=4, max_source_positions=8, max_target_positions=8,
        decoder_start_token_id=1,
    )  # fmt: skip
    return hf.WhisperForConditionalGeneration(config)


@pytest.mark.parametrize(
    ("make", "x", "name"),
    [
        (gpt2, torch.arange(10).view(2, 5), r"model.transformer.h.0.ln_1 \(LayerNorm\) is a layer norm"),
        (llama, torch.arange(10).view(2, 5), r"model.model.layers.0.input_layernorm \(LlamaRMSNorm\) is an RMS norm"),
        (t5, torch.arange(10).view(2, 5), r"layer_norm \(T5LayerNorm\) is a layer norm"),
        (whisper, torch.randn(2, 4, 16), r"self_attn_layer_norm \(LayerNorm\) is a layer norm"),
    ],
)
def test_a_model_with_a_decoder_is_read_and_refused_in_one_line(make, x, name):
    torch.manual_seed(0)
    model = Logits(make(), make in (t5, whisper)).eval()
    program = read_program(model, x)
    torch.testing.assert_close(program.run(dict(model.state_dict()), x), model(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=name) as error:
        read_network(program)
    assert "\n" not in str(error.value)


def bert():
    return hf.BertForSequenceClassification(
        hf.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=16,
        )
    )  # fmt: skip


TOKENS = torch.arange(10).view(2, 5)
NAMED = {"input_ids": TOKENS, "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])}


@pytest.mark.parametrize(("make", "inputs", "widest"), [(bert, NAMED, 12), (gpt2, TOKENS, 32), (llama, TOKENS, 12)])
def test_logits_are_read_whatever_else_is_returned_and_neurons_may_be_exchanged(make, inputs, widest):
    torch.manual_seed(0)
    model = make().eval()
    program = read_program(model, inputs)
    with torch.no_grad():
        for parameter in model.parameters():  # tied ones once
            parameter.add_(torch.rand_like(parameter) / 5)
    weights = dict(model.state_dict())
    spaces = read_spaces(program)
    orders = {number: torch.arange(spaces.spaces[number].width).roll(1) for number in spaces.free}
    assert max(spaces.spaces[number].width for number in spaces.free) == widest
    named = inputs if isinstance(inputs, dict) else {"input_ids": inputs}
    with torch.no_grad():
        expected, moved = (
            torch.func.functional_call(model, given, (), named, tie_weights=False).logits
            for given in (weights, spaces.permuted(weights, orders))
        )
    torch.testing.assert_close(program.run(weights, inputs), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_a_model_with_two_inputs_is_refused_by_the_certified_builder():
    with pytest.raises(InputError, match=r"reads 2 inputs \(input_ids, attention_mask\), expected one") as error:
        read_network(read_program(bert().eval(), NAMED))
    assert "\n" not in str(error.value)
