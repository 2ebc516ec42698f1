"""Transformers' adapter: what every adapter must do, heads on request, changes of the configuration, ties."""

import logging.handlers

import pytest
import torch

pytest.importorskip("transformers")

import transformers as hf
from transformers_pairs import PAIRS, loaders, write_pair
from transformers_tiny import IMAGE, NETWORKS

from connectivity_hooks.testing import AdapterSuite
from connectivity_hooks_transformers.adapter import TransformersAdapter

adapter = TransformersAdapter()


class Suite(AdapterSuite):
    adapter = TransformersAdapter

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.network().save_pretrained(tmp_path / "model")
        type(self).name = str(tmp_path / "model")

    def network(self):
        raise NotImplementedError


class TestViT(Suite):
    """Stored under other names than the module has."""

    shape = (3, 16, 16)

    def network(self):
        return hf.ViTForImageClassification(hf.ViTConfig(**IMAGE))


class TestSwin(Suite):
    shape = (3, 32, 32)

    def network(self):
        return NETWORKS["Swin"].make()


class TestMixtral(Suite):
    """Stored in other shapes than the module has: experts one by one."""

    shape = None  # its inputs are tokens

    def network(self):
        return PAIRS["Mixtral"][0]()


class TestMarian(Suite):
    """Its sinusoids are in no file; tied to nothing, and the same in every model."""

    shape = None

    def network(self):
        sides = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
        return hf.MarianMTModel(hf.MarianConfig(vocab_size=30, pad_token_id=0, d_model=8, **sides))

    def test_what_is_in_no_file_comes_of_a_new_model(self):
        model = self.network()
        state = model.state_dict()
        constants = {name: one for name, one in state.items() if "embed_positions" in name}
        found = adapter.loaded(model, {name: one for name, one in state.items() if name not in constants})
        assert len(constants) == 2
        assert all(torch.equal(found[name], one) for name, one in constants.items())


class TestTiedBert(Suite):
    shape = None

    def network(self):
        return NETWORKS["BERT, masked words"].make()


def test_the_loss_of_a_folder_of_gpt_2_is_computed_without_remarks(tmp_path):
    write_pair("GPT-2", tmp_path)
    hf.utils.logging.warning_once.cache_clear()
    remarks = logging.handlers.BufferingHandler(100)
    logging.getLogger("transformers").addHandler(remarks)
    try:
        model = TransformersAdapter().create(f"{tmp_path / 'a'}", {})
        batch = loaders("GPT-2")[0][0]
        assert torch.isfinite(model(**batch).loss)
    finally:
        logging.getLogger("transformers").removeHandler(remarks)
    assert [record.getMessage() for record in remarks.buffer] == []
