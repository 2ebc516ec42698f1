"""The page on watching runs as it is written."""

import pathlib
import re

import torch

import connectivity_hooks as ch

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "watching.md"


def test_the_examples_run_and_write_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    names = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for example in examples:
            exec(example.replace("every=50", "every=250").replace("at_start=True", "at_start=False"), names)
    written = {file.name for file in (tmp_path / "watched").iterdir()}
    assert written == {"history.jsonl", "history.csv", "summary.txt", "watch.svg", "watch.png"}
    last = {row.layer: row for row in ch.watching.read_history("watched") if row.condition == "separability"}
    averaged = ch.watching.read_history("averaged")
    assert {(row.condition, row.layer) for row in averaged} == {("average", "ema"), ("average", "swa")}
    assert [row.status for row in averaged][-2:] == ["holds", "holds"]
    assert "The average ema is connected to the trained weights from step" in pathlib.Path(
        "averaged", "summary.txt"
    ).read_text(encoding="utf-8")
    assert last["6"].status == "holds"
    assert last["6"].step == 500
