from dataclasses import dataclass

import pytest

from connectivity_hooks.contracts import Verdict, option
from connectivity_hooks.contracts.options import make_options, option_fields
from connectivity_hooks.errors import UsageError


@dataclass(frozen=True)
class Options:
    share: float = option(0.5, "A share.", gt=0, le=1)
    count: int | None = option(None, "A count.", ge=1)
    fast: bool = option(False, "Whether to hurry.")
    kind: str = option("a", "A kind.", choices=("a", "bb"))


def test_text_from_the_command_line_becomes_typed_values():
    made = make_options(Options, {"share": "0.25", "count": "3", "fast": "yes", "kind": "bb"}, "method")
    assert made == Options(0.25, 3, True, "bb")
    assert make_options(Options, {"count": "none"}, "method").count is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("share", "0", "--method.share: expected float > 0 ≤ 1"),
        ("share", "nan", "expected float > 0 ≤ 1, found nan"),
        ("share", "much", "found 'much'"),
        ("count", "0", "expected int ≥ 1 or none"),
        ("count", 1.5, "expected int"),
        ("count", True, "expected int"),
        ("fast", "perhaps", "expected bool"),
        ("kind", "b", "expected a | bb, found 'b'"),
        ("shar", "1", "no option 'shar'; did you mean 'share'"),
        ("share", None, "a value is needed"),
        ("share", "1e400", "expected float > 0 ≤ 1, found inf"),
        ("share", 10**400, "expected float > 0 ≤ 1"),
        ("count", "inf", "expected int ≥ 1 or none"),
        ("count", "9" * 5000, "expected int ≥ 1 or none"),
        ("count", 10**400, "expected int ≥ 1 or none"),
        ("count", 2**63, "expected int ≥ 1 or none, found 9223372036854775808"),
        ("count", [], "expected int"),
        ("fast", {}, "expected bool"),
        ("kind", "\ud800", "expected a | bb"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(name, value, words):
    with pytest.raises(UsageError) as error:
        make_options(Options, {name: value}, "method")
    assert words in str(error.value)


def test_options_describe_themselves():
    fields = {field.name: field for field in option_fields(Options)}
    assert fields["count"].allowed() == "int ≥ 1 or none"
    assert fields["share"].help == "A share."


def test_a_verdict_needs_a_measurement_or_a_reason():
    with pytest.raises(ValueError, match="finite measurement"):
        Verdict("c", "layer", True, float("nan"), 0.0, "nats")
    with pytest.raises(ValueError, match="needs a reason"):
        Verdict("c", "layer", None, None, None, "")
    assert Verdict.invalid("c", "layer", "never fired").status == "invalid"


def test_a_number_that_python_does_not_write_is_wrong_usage():
    with pytest.raises(UsageError, match="a number too long to write"):
        make_options(Options, {"count": 10**5000}, "method")
