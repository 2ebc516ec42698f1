"""Processes that work together: which one this is, what they share, and that one that fails ends all."""

import time

import pytest
import torch
import torch.distributed as dist
from side_by_side import side_by_side

import connectivity_hooks.team as teams
from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.processes import Place, started_place
from connectivity_hooks.team import OtherFailed, current, join, joined, together

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")

STARTED = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "", "RANK": "x"}])
def test_a_process_alone_is_alone(environment):
    assert started_place(environment) == Place(0, 1, 0)
    assert join(environment) is joined() is current()
    assert together(torch.device("cpu")).count == 1
    assert not dist.is_initialized()


def test_the_environment_says_which_process_this_is():
    assert started_place(STARTED) == Place(1, 3, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"RANK": ""}, "RANK"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR"),
        ({"MASTER_PORT": ""}, "MASTER_PORT"),
        ({"RANK": "3"}, "RANK"),
        ({"RANK": "-1"}, "RANK"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE"),
        ({"LOCAL_RANK": "²"}, "LOCAL_RANK"),
    ],
)
def test_an_environment_that_says_it_badly_is_refused(change, named):
    with pytest.raises(UsageError, match=named):
        started_place({**STARTED, **change})


def test_alone_nothing_is_communicated():
    alone = current()
    tensor = torch.ones(3)
    alone.sum(tensor)
    alone.require_same({"the data": 1})
    alone.begin(torch.device("cpu"))
    alone.leave()
    assert alone.share(lambda: 7) == 7
    assert alone.device("cuda:1") == "cuda:1"
    assert tensor.tolist() == [1, 1, 1]
    assert not dist.is_initialized()


def test_things_that_differ_are_named_by_the_process_that_has_them():
    def work(team):
        team.require_same({"the checkpoints": ["x"], "the data": 5 if team.rank == 2 else 4})
        team.leave()

    def failing(team):
        try:
            work(team)
        except InputError:
            team.fails()
            raise

    found = side_by_side(failing, 3)
    assert isinstance(found[2], InputError)
    assert "process 3 of 3" in str(found[2])
    assert "the data" in str(found[2])
    assert "the checkpoints" not in str(found[2])
    assert all(isinstance(found[rank], OtherFailed) for rank in (0, 1))
    assert side_by_side(lambda team: team.require_same({"the data": float("inf")})) == [None, None]


def test_the_first_to_fail_says_why_and_all_have_its_status():
    def work(team):
        if team.rank == 1:
            mine = team.fails()
            return mine, team.settled(3, mine)
        with pytest.raises(OtherFailed):
            team.awaited("what never comes")
        mine = team.fails()
        return mine, team.settled(1, mine)

    assert side_by_side(work) == [(False, 3), (True, 3)]


def test_what_is_published_is_seen_by_all():
    def work(team):
        key = team.key("words")
        if team.rank == 1:
            time.sleep(0.2)
            team.publish(key, "gr\u00fc\u00df dich")
        return team.awaited(key)

    assert side_by_side(work) == ["gr\u00fc\u00df dich"] * 2


def test_a_process_that_gives_no_sign_of_life_is_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr(teams, "_SILENT", 0.5)

    def work(team):
        if team.rank == 1:
            team.listen()
            return "gone"
        until = time.monotonic() + 20
        while time.monotonic() < until:
            team.listen()
            team.is_there("what never comes")
            time.sleep(0.01)
        return "still waiting"

    lost, gone = side_by_side(work)
    assert gone == "gone"
    assert isinstance(lost, OtherFailed)
    assert "process 2 of 2" in str(lost)


def test_nobody_leaves_before_the_others():
    left = []

    def work(team):
        time.sleep(0.3 * team.rank)
        left.append("begins")
        team.leave()
        left.append("done")

    side_by_side(work)
    assert left == ["begins"] * 2 + ["done"] * 2
