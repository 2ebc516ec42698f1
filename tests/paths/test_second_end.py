"""An aligned end in a sentence: what is known of it, whatever a file or a stranger's aligner put into the record."""

import pytest

from connectivity_hooks.paths.second_end import second_end_in_words

NOT_USED = [f"space {number}: S holds" for number in range(5)]


@pytest.mark.parametrize(
    ("alignment", "sentence"),
    [
        (
            {
                "aligner": "weight-matching", "deviation": 3.2e-8,
                "record": {"moved": {"spaces": 7, "of": 9}, "coverage": 0.973, "demoted": NOT_USED[:1]},
            },
            "B was replaced by an equal copy aligned to A by weight-matching (7 of 9 spaces moved, coverage 97 %, "
            "outputs moved by 3e-08, relative); not used: space 0: S holds.",
        ),
        (
            {"aligner": "theirs", "deviation": 0.0, "record": {"anything": [1, {}]}},
            "B was replaced by an equal copy aligned to A by theirs (outputs did not move).",
        ),
        (
            {"aligner": "x", "record": {"demoted": NOT_USED}},
            "B was replaced by an equal copy aligned to A by x; not used: space 0: S holds; space 1: S holds; "
            "space 2: S holds; and 2 more.",
        ),
        (
            {"aligner": "best", "deviation": 0.0, "record": {"moved": {"spaces": 0, "of": 9}, "coverage": 1.0}},
            "B was compared with A and left as it is by best (0 of 9 spaces moved, coverage 100 %, outputs did not "
            "move).",
        ),
        ({"aligner": "none"}, "B was replaced by an equal copy aligned to A by none."),
        ({}, "B was replaced by an equal copy aligned to A by an aligner that is not named."),
    ],
)  # fmt: skip
def test_what_is_known_is_said(alignment, sentence):
    assert second_end_in_words(alignment) == sentence


@pytest.mark.parametrize(
    "value", [None, True, -1, 10**400, float("nan"), float("inf"), "a lot", [], [{}], {}, {"of": 2}]
)
@pytest.mark.parametrize("key", ["moved", "coverage", "demoted"])
def test_what_is_not_as_ours_is_left_out(key, value):
    expected = "B was replaced by an equal copy aligned to A by x."
    assert second_end_in_words({"aligner": "x", "record": {key: value}}) == expected
    if key != "moved":
        assert second_end_in_words({"aligner": "x", "deviation": value, "record": value}) == expected
    assert second_end_in_words({"aligner": "x", "record": {"moved": {"spaces": value, "of": 2}}}) == expected


def test_names_and_reasons_stay_short_and_on_a_line():
    found = second_end_in_words({"aligner": "a\x1b[31m\nb" * 1000, "record": {"demoted": ["c\r\n\ud800d" * 1000]}})
    assert found.isprintable()
    assert len(found) < 400
