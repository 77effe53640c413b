"""Work shared between threads: as many as the host grants, and none is enough.

A limit of processes or of memory can refuse a thread at any time. A task that no thread has begun is therefore done by
the thread that needs its result: without any worker, everything is done in one thread, in order.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

Answer = TypeVar("Answer")


def _nothing() -> None:
    """In the place of a call that was made."""


class Task(Generic[Answer]):
    """One call, made once, by the first thread that claims it."""

    __slots__ = ("_answers", "_call", "_claim", "_error", "_running")

    def __init__(self, call: Callable[[], Answer]) -> None:
        self._call = call
        self._claim = _thread.allocate_lock()
        self._running = _thread.allocate_lock()
        self._running.acquire()
        self._answers: list[Answer] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call, unless it has been claimed. Its exception is kept for `result`."""
        if not self.claim():
            return
        try:
            self._answers.append(self._call())
        except BaseException as error:
            self._error = error
        finally:
            # A worker may still have the task when the result is taken: nothing of the call lives on by that.
            self._call = _nothing  # type: ignore[assignment]
            self._running.release()

    def claim(self) -> bool:
        """Whether the call was not made yet; no other thread makes it then."""
        return self._claim.acquire(blocking=False)

    def cancel(self) -> None:
        """Prevent the call, or wait until it has ended: after this, nothing runs."""
        if self.claim():
            self._call = _nothing  # type: ignore[assignment]
            self._running.release()
        with self._running:
            pass

    def result(self) -> Answer:
        """What the call returned; raises what it raised. Makes the call if no thread has begun it."""
        self.run()
        with self._running:
            if self._error is not None:
                raise self._error
            return self._answers[0]


class Workers:
    """Up to `count` threads that run tasks in the order of submission; a context manager.

    Leaving does not wait. Who submits a task has it before, and takes its result or cancels it, whatever fails.
    """

    def __init__(self, count: int) -> None:
        self._wanted = count
        self._queue: SimpleQueue[Task[object] | None] = SimpleQueue()
        self.count = 0

    def submit(self, task: Task[Answer]) -> None:
        """Have a task run by a worker, or by the thread that asks for its result."""
        if self.count:
            self._queue.put(task)  # type: ignore[arg-type]  # a worker needs no result

    def __enter__(self) -> Self:
        # threading.Thread.start waits for the new thread to report: one without the memory to do so never does.
        try:
            while self.count < self._wanted:
                _thread.start_new_thread(self._work, ())
                self.count += 1
        except (RuntimeError, MemoryError):  # "can't start new thread"
            pass
        return self

    def __exit__(self, *_: object) -> None:
        for _number in range(self.count):
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
            task = None


def run_together(call: Callable[[], None], threads: int) -> None:
    """Run the same call in this thread and in up to `threads` - 1 others, until it has returned in each."""
    with Workers(threads - 1) as workers:
        tasks = [Task(call) for _ in range(workers.count)]
        try:
            for task in tasks:
                workers.submit(task)
            call()
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
