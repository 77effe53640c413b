"""File descriptors as values that are owned: exactly one owner, closed on every path."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, NewType, Self, TypeVar

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


class MapFd(Fd):
    """An open map."""

    __slots__ = ()


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


class FdSet(Generic[OwnedFd]):
    """Owns the fds of one wave, in the order in which they were added; closing it closes them all."""

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: list[OwnedFd] = []

    def add(self, fd: OwnedFd) -> OwnedFd:
        """Take over `fd`, and hand it back to be used."""
        self._fds.append(fd)
        return fd

    def take(self, other: FdSet[OwnedFd]) -> None:
        """Take over all fds of another set, after those that are here."""
        self._fds += other._fds
        other._fds = []

    def numbers(self) -> list[int]:
        """The fds as the kernel takes them; valid while the set is open."""
        return [fd.number for fd in self._fds]

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
        return len(self._fds)

    def __iter__(self) -> Iterator[OwnedFd]:
        return iter(self._fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
