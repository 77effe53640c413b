"""Tasks are run once, by whichever thread is free; without any worker, by the thread that needs the result."""

from __future__ import annotations

import threading
import time
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
        tasks = [Task(partial(call, number)) for number in range(50)]
        for task in tasks:
            workers.submit(task)
        assert [task.result() for task in tasks] == list(range(0, 100, 2))
        assert [task.result() for task in tasks] == list(range(0, 100, 2))
    assert sorted(calls) == list(range(50))


@pytest.mark.parametrize("threads", [0, 2])
def test_an_exception_of_any_class_reaches_who_asks_for_the_result(threads: int) -> None:
    def fail() -> None:
        raise SystemExit("failed")

    with Workers(threads) as workers:
        task = Task(fail)
        workers.submit(task)
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


def test_a_cancelled_task_has_ended_or_never_runs() -> None:
    calls: list[int] = []
    task = Task(lambda: calls.append(1))
    for _ in range(2):
        task.cancel()
    task.run()
    assert calls == []

    ended = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    with Workers(1) as workers:
        slow = Task(work)
        workers.submit(slow)
        assert begun.wait(10)
        slow.cancel()
        assert ended.is_set()


def test_a_failure_in_this_thread_waits_for_the_others() -> None:
    """An apply must not be rolled back while another thread still writes."""
    main, begun, running = threading.get_ident(), threading.Event(), [0]

    def work() -> None:
        if threading.get_ident() == main:
            assert begun.wait(10)
            raise MemoryError
        running[0] += 1
        begun.set()
        time.sleep(0.05)
        running[0] -= 1

    with pytest.raises(MemoryError):
        run_together(work, 3)
    assert running == [0]


def test_a_call_is_run_together_by_this_thread_and_others() -> None:
    numbers = count()
    seen: list[tuple[int, int]] = []

    def work() -> None:
        while (number := next(numbers)) < 200:
            seen.append((number, threading.get_ident()))

    run_together(work, 8)
    assert sorted(number for number, _ in seen) == list(range(200))
    run_together(work, 1)
