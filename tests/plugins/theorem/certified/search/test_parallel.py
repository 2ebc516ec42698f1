"""Works side by side, and one after the other."""

import threading
import time

import pytest
import torch

from connectivity_hooks_theorem.certified.search.parallel import in_parallel, in_turn


def numbers(start, fail=False):
    def work():
        yield from range(start, start + 3)
        if fail:
            raise ValueError("no such luck")

    return work


def test_works_side_by_side_yield_what_they_yield_in_turn():
    cores = torch.get_num_threads()
    works = [numbers(0), numbers(10)]
    expected = [(0, 0), (0, 1), (0, 2), (1, 10), (1, 11), (1, 12)]
    assert sorted(in_parallel(works)) == list(in_turn(works)) == expected
    assert torch.get_num_threads() == cores


def test_works_in_turn_begin_when_the_one_before_has_ended():
    seen = []

    def noted(name):
        def work():
            seen.append(name)
            yield name

        return work

    items = in_turn([noted("a"), noted("b")])
    assert next(items) == (0, "a")
    assert seen == ["a"]
    assert list(items) == [(1, "b")]


def test_works_side_by_side_run_in_threads_of_their_own():
    both = threading.Barrier(2, timeout=30)

    def work():
        both.wait()  # passed only if the other work runs at the same time
        yield threading.get_ident()

    threads = {ident for _, ident in in_parallel([work, work])}
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_an_exception_of_a_work_comes_out():
    with pytest.raises(ValueError, match="no such luck"):
        list(in_parallel([numbers(0), numbers(10, fail=True)]))


def test_works_are_waited_for_when_nobody_listens_any_more():
    finished = []

    def work():
        yield 1
        time.sleep(0.2)  # on its next item when the iteration ends
        finished.append(True)
        yield 2
        finished.append(False)

    items = in_parallel([work, work])
    assert next(items)[1] == 1
    items.close()
    assert finished == [True, True]  # and no further item was begun
