"""A part of benchmarks/fuzz_readers.py: every reader with spoiled inputs, always the same ones."""

import pytest
from fuzzing import fuzz
from readers import READERS

# A minute in all on one slow core: of those that draw or wait for the disk fewer. The benchmark takes 20 000 of each.
COUNT = {
    "report.json": 150,
    "evaluation.csv": 200,
    "journal": 200,
    "history.jsonl": 200,
    "config.json of Transformers": 250,
    "text": 200,
    "datasets": 200,
}
MANY = 700


@pytest.mark.parametrize("name", READERS)
def test_a_spoiled_input_ends_in_a_result_or_one_line(name, tmp_path):
    outcomes, faults = fuzz(name, tmp_path / "it", COUNT.get(name, MANY), seed=1)
    assert not faults, "\n".join(f"run {number}: {fault}" for number, fault in faults[:3])
    assert outcomes["accepted"] + outcomes["refused"] == COUNT.get(name, MANY)
