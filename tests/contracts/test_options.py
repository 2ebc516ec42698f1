from dataclasses import dataclass

import pytest

from connectivity_hooks.budget import Budget
from connectivity_hooks.contracts import Verdict, option
from connectivity_hooks.contracts.options import make_options, option_fields, takes_budget
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


@dataclass(frozen=True)
class Budgeted:
    budget: str = option("3steps", "How long.")
    batch_size: int = option(8, "How many.", ge=1)

    def __post_init__(self):
        if self.batch_size == 7:
            raise UsageError("batch_size: expected anything but 7")
        if self.batch_size == 6:
            raise UsageError("a budget is too large for 6")
        if self.batch_size == 5:
            raise RuntimeError("oh\nno")
        Budget.parse(self.budget, "budget")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": "soon"}, "--method.budget: expected a budget such as 300steps, 3epochs, 30s or 5m, found 'soon'"),
        ({"batch_size": "7"}, "--method.batch-size: expected anything but 7"),
        ({"batch_size": 6}, "method: a budget is too large for 6"),
        ({"batch_size": 5}, "method: RuntimeError: oh no"),
    ],
)
def test_what_the_dataclass_itself_refuses_is_said_under_the_flag_as_typed(given, said):
    with pytest.raises(UsageError) as refused:
        make_options(Budgeted, given, "method")
    assert str(refused.value) == said


def test_a_budget_is_an_option_of_that_name_that_is_text():
    @dataclass(frozen=True)
    class Otherwise:
        budget: int = option(3, "Of memory.")

    assert takes_budget(Budgeted)
    assert not takes_budget(Otherwise)
    assert not takes_budget(Options)
