import pytest

from connectivity_hooks.evaluation import evaluate
from connectivity_hooks.evaluation.journal import Journal
from connectivity_hooks.paths import Path

SUBJECT = {"ends": ["1", "2"], "builder": "linear"}


class Killed(BaseException):
    """Stands for SIGKILL after some points."""


class Dying(Journal):
    def add(self, measurements):
        super().add(measurements)
        if len(self) == 4:
            raise Killed


def test_a_killed_evaluation_goes_on_and_ends_equal(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    whole = evaluate(path, setting.task, points=7)
    with pytest.raises(Killed), Dying(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=7, record=journal)
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 4
        resumed = evaluate(path, setting.task, points=7, record=journal)
    assert resumed.curves == whole.curves
    assert resumed.barriers == whole.barriers


def test_a_line_cut_short_by_a_crash_is_dropped(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text[:-20])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 2


def test_a_journal_of_something_else_is_started_anew(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    with Journal(tmp_path / "journal", {**SUBJECT, "ends": ["1", "3"]}) as journal:
        assert len(journal) == 0


def test_a_journal_with_other_fields_is_started_anew(setting, tmp_path):
    path = Path.from_points([setting.weights(1), setting.weights(2)])
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        evaluate(path, setting.task, points=3, refine=0, record=journal)
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text.replace(', "rise_interval"', "").replace('"rise_interval":', '"gone":'))
    with Journal(tmp_path / "journal", SUBJECT) as journal:
        assert len(journal) == 0
