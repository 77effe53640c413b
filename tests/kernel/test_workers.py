"""Tasks are run once, by whichever thread is free; without any worker, by the thread that needs the result."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from itertools import count

import pytest

from provisioner.kernel.workers import Task, Workers, run_together


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_each_task_is_run_once_and_its_result_is_kept(threads: int) -> None:
    calls: list[int] = []

    def call(number: int) -> int:
        calls.append(number)
        return number * 2

    with Workers(threads) as workers:
        tasks = [workers.submit(lambda number=number: call(number)) for number in range(50)]  # type: ignore[misc]
        assert [task.result() for task in tasks] == list(range(0, 100, 2))
        assert [task.result() for task in tasks] == list(range(0, 100, 2))
    assert sorted(calls) == list(range(50))


@pytest.mark.parametrize("threads", [0, 2])
def test_an_exception_of_any_class_reaches_who_asks_for_the_result(threads: int) -> None:
    def fail() -> None:
        raise SystemExit("failed")

    with Workers(threads) as workers:
        task = workers.submit(fail)
        for _ in range(2):
            with pytest.raises(SystemExit, match="failed"):
                task.result()


def test_a_task_that_was_run_keeps_nothing_of_its_call() -> None:
    held = {1, 2}
    gone = weakref.ref(held)
    task = Task(partial(len, held))
    del held
    assert task.result() == 2
    assert gone() is None
    assert task.result() == 2


def test_a_claimed_task_is_never_run() -> None:
    calls: list[int] = []
    task = Task(lambda: calls.append(1))
    assert task.claim()
    task.run()
    assert not task.claim()
    assert calls == []


def test_a_call_is_run_together_by_this_thread_and_others() -> None:
    numbers = count()
    seen: list[tuple[int, int]] = []

    def work() -> None:
        while (number := next(numbers)) < 200:
            seen.append((number, threading.get_ident()))

    run_together(work, 8)
    assert sorted(number for number, _ in seen) == list(range(200))
    run_together(work, 1)
