"""File descriptors as values that are owned: exactly one owner, closed on every path."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Generic, NewType, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

InnerId = NewType("InnerId", int)
"""The id of an inner map, as a slot is read. A slot is written with an fd: mixing the two is a type error."""


class Fd:
    """Owns one fd, as a context manager; `close` may be called twice.

    Never holds fd 0, which the kernel reads as "none" in several fields of `union bpf_attr`.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        if number == 0:
            number = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(0)
        self._number = number

    @property
    def number(self) -> int:
        """The fd, for a system call made now. Raises `ValueError` once it is closed or disowned."""
        if self._number < 0:
            raise ValueError("this fd is closed")
        return self._number

    @property
    def closed(self) -> bool:
        return self._number < 0

    def close(self) -> None:
        """Give the fd back to the kernel, at most once."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def disown(self) -> int:
        """Give the fd away: the caller owns the number now."""
        number = self.number
        self._number = -1
        return number

    def duplicate(self) -> Self:
        """A second owner of the same kernel object."""
        return type(self)(fcntl.fcntl(self.number, fcntl.F_DUPFD_CLOEXEC, 3))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._number})"

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            try:
                warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
            finally:  # where warnings are errors too
                self.close()

    def make_room(self, fds: int) -> None:
        """Have the process's table of fds grow now for so many, and not bit by bit.

        While other threads run, the kernel waits for a grace period each time that it doubles (expand_fdtable).
        """
        with suppress(OSError):  # more than the limit of open files, or no memory: then it does so
            os.close(fcntl.fcntl(self.number, fcntl.F_DUPFD_CLOEXEC, fds))


class MapFd(Fd):
    """An open map."""

    __slots__ = ()


class BorrowedMapFd(MapFd):
    """An open map that another owner closes."""

    __slots__ = ()

    def close(self) -> None:
        self._number = -1

    def __del__(self) -> None:
        self.close()


class ProgramFd(Fd):
    """A loaded program."""

    __slots__ = ()


class LinkFd(Fd):
    """An attachment; closing its last holder detaches the program."""

    __slots__ = ()


class BtfFd(Fd):
    """BTF in the kernel."""

    __slots__ = ()


OwnedFd = TypeVar("OwnedFd", bound=Fd)


class MapFds:
    """Owns open maps whose fds are in memory that a program in the kernel writes: negative numbers are none.

    It exists before the program runs, so the fds have an owner from the moment when they are there.
    """

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: NDArray[np.int32] = np.zeros(0, np.int32)

    def watch(self, numbers: NDArray[np.int32]) -> None:
        """Own what will be in this memory, from now until `leave`, which must come before the memory goes."""
        self._numbers = numbers

    def leave(self) -> None:
        """Have the numbers in memory of its own, without those that are none; the program runs no more."""
        numbers = self._numbers
        for at in np.flatnonzero(numbers == 0).tolist():  # the kernel reads fd 0 as "none"
            numbers[at] = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(0)
        self._numbers = numbers[numbers > 0]

    def numbers(self) -> list[int]:
        return self._numbers.tolist()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the fds back to the kernel, at most once: one call for those that follow each other."""
        numbers, self._numbers = np.sort(self._numbers), self._numbers[:0]
        numbers = numbers[numbers >= 0]
        if not len(numbers):
            return
        ends = np.append(np.flatnonzero(np.diff(numbers) != 1), len(numbers) - 1)
        firsts = numbers[np.append(0, ends[:-1] + 1)]
        for first, last in zip(firsts.tolist(), numbers[ends].tolist(), strict=True):
            os.closerange(first, last + 1)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[MapFd]:
        return iter([BorrowedMapFd(number) for number in self.numbers()])

    def __del__(self) -> None:
        if (self._numbers >= 0).any():
            try:
                warnings.warn(f"{len(self)} maps were never closed", ResourceWarning, source=self, stacklevel=2)
            finally:  # where warnings are errors too
                self.close()


class FdSet(Generic[OwnedFd]):
    """Owns the fds of one wave, in the order in which they were added; closing it closes them all."""

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: list[OwnedFd | MapFds] = []

    def add(self, fd: OwnedFd) -> OwnedFd:
        """Take over `fd`, and hand it back to be used."""
        self._fds.append(fd)
        return fd

    def add_maps(self: FdSet[MapFd], fds: MapFds) -> MapFds:
        """Take over many, which follow those that are here."""
        self._fds.append(fds)
        return fds

    def take(self, other: FdSet[OwnedFd]) -> None:
        """Take over all fds of another set, after those that are here."""
        self._fds += other._fds
        other._fds = []

    def numbers(self) -> list[int]:
        """The fds as the kernel takes them; valid while the set is open."""
        numbers: list[int] = []
        for fd in self._fds:
            numbers += fd.numbers() if isinstance(fd, MapFds) else [fd.number]
        return numbers

    def close(self) -> None:
        """Close every fd, even where closing one fails; the first failure is raised at the end."""
        failure: OSError | None = None
        while self._fds:
            try:
                self._fds.pop().close()
            except OSError as error:
                failure = failure or error
        if failure:
            raise failure

    def __len__(self) -> int:
        return sum(len(fd) if isinstance(fd, MapFds) else 1 for fd in self._fds)

    def __iter__(self) -> Iterator[OwnedFd]:
        for fd in self._fds:
            if isinstance(fd, MapFds):
                yield from cast("Iterator[OwnedFd]", iter(fd))
            else:
                yield fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
