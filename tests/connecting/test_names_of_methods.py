"""What `ch.connect` says where a name or a budget is something else than it expects."""

import pytest

import connectivity_hooks as ch
from connectivity_hooks.budget import Budget
from connectivity_hooks.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"builder": ["linear", "bezier"]}, "builder: expected one name a call, found ['linear', 'bezier']"),
        ({"builder": None}, "builder: expected one name a call, found None"),
        ({"align": ["weight-matching"]}, "aligner: expected one name a call, found ['weight-matching']"),
        ({"builder": "all"}, "call once for each builder, or say 'best'"),
        ({"builder": "nothing-like-it"}, "known: autoneb, best, bezier"),
        ({"budget": 60}, "budget: expected a budget such as 300steps, 3epochs, 30s or 5m, found 60"),
        ({"budget": ["5m"]}, "found ['5m']"),
        ({"builder": "bezier", "options": {"budget": 60}}, "--bezier.budget: expected a budget such as 300steps"),
        ({"builder": "bezier", "options": {"precision": ["full"]}}, "--bezier.precision: expected full | bfloat16"),
    ],
    ids=str,
)
def test_what_is_no_name_or_budget_is_wrong_usage(asked, words, task, ends):
    with pytest.raises(UsageError) as refused:
        ch.connect(*ends, task, **asked)
    assert words in str(refused.value)


@pytest.mark.parametrize("budget", [None, "2steps", Budget(2, "steps")], ids=str)
def test_a_budget_may_be_none_text_or_made(budget, task, ends):
    options = {"budget": "1steps"} if budget is None else None
    path = ch.connect(*ends, task, builder="bezier", budget=budget, options=options)
    assert path.options["budget"] == ("1steps" if budget is None else "2steps")
