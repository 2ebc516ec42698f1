"""The result file of an item: under its name once it is done, and never half."""

from connectivity_hooks.evaluation.journal import read_journal
from connectivity_hooks.evaluation.measurement import Measurement
from connectivity_hooks.progress import SILENT
from connectivity_hooks.shards.items import Result

SUBJECT = {"path": "p"}


def measured(t):
    whole = dict.fromkeys(Measurement.__dataclass_fields__, 0.0)
    return [Measurement(**{**whole, "t": t, "split": "train", "source": "forward", "samples": 9})]


def test_a_result_has_its_name_once_it_is_done(tmp_path):
    file = tmp_path / "linear.1-of-2.jsonl"
    result = Result(file, SUBJECT, SILENT)
    result.__enter__().add(measured(0.0))
    result.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not file.exists()
    with Result(file, SUBJECT, SILENT) as journal:
        assert journal.known(0.0) == measured(0.0)
        journal.add(measured(0.5))
    assert read_journal(file, "") == (SUBJECT, [measured(0.0), measured(0.5)])
    assert list(tmp_path.iterdir()) == [file]


def test_a_job_that_is_started_twice_leaves_one_whole_result(tmp_path):
    file = tmp_path / "linear.1-of-2.jsonl"
    with Result(file, SUBJECT, SILENT) as first:
        first.add(measured(0.0))
        with Result(file, SUBJECT, SILENT) as second:
            first.add(measured(0.5))
            second.add(measured(0.5))
    assert read_journal(file, "")[1] == [measured(0.0), measured(0.5), measured(0.5)]
    assert list(tmp_path.iterdir()) == [file]
