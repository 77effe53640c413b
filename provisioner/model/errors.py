"""Errors as values: where, why, what next; gathered, and raised once.

Every error that a user can meet is one or more `Problem`s inside a `ProvisionerError`. The class decides the exit
status, and nothing below the command line prints or exits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import ClassVar

import msgspec

from provisioner.model.location import Location


class Problem(msgspec.Struct, frozen=True):
    """One error: `what` says why, `hint` the next step, `where` and `address` the place.

    `where` is a place in the user's files; `address` names a live or desired thing (`tenants[42]`). `id` is stable, for
    programs and for docs/errors.md: `duplicate-key`.
    """

    what: str
    where: Location | None = None
    hint: str = ""
    address: str = ""
    id: str = ""

    def __str__(self) -> str:
        place = str(self.where) if self.where else self.address
        text = f"{place}: {self.what}" if place else self.what
        return f"{text} ({self.hint})" if self.hint else text


class ProvisionerError(Exception):
    """Base of all errors that a user can meet. `problems` is never empty."""

    exit_code: ClassVar[int] = 1

    status: str = "refused"
    """How an apply ended, in the words of its JSON `result`."""
    live: tuple[str, ...] = ()
    """What an apply made visible and did not take back."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(str(problem) for problem in problems))


class InputError(ProvisionerError):
    """A spec, table, object file or argument value is wrong; nothing was changed."""

    exit_code = 1


class ApplyError(ProvisionerError):
    """`apply` or `destroy` failed after something became visible."""

    exit_code = 3


class RefusedError(ProvisionerError):
    """A rule forbids it: a stale plan, a limit, `prevent_destroy`, ownership."""

    exit_code = 4


class HostError(ProvisionerError):
    """This host cannot: no privilege, no bpffs, no libbpf, or the kernel refused; nothing was changed."""

    exit_code = 5


class InterruptError(ProvisionerError):
    """A signal ended it at a safe point."""

    exit_code = 130
    status = "interrupted"


class BugError(ProvisionerError):
    """An exception that no code foresaw; nothing was changed."""

    exit_code = 70

    @classmethod
    def of(cls, error: BaseException) -> BugError:
        hint = "report it, with the traceback that -v prints"
        return cls(Problem(f"this is a bug: {type(error).__name__}: {error}", hint=hint, id="bug"))


class LockedError(ProvisionerError):
    """Another process holds the project's lock."""

    exit_code = 75


class Problems:
    """A gathering place: one run shows every problem, and one place raises.

    `is_partial` is set where some of the input could not be read: then nothing can be said to be missing.
    """

    __slots__ = ("_found", "_settled", "is_partial")

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._settled: frozenset[Location | None] = frozenset()
        self.is_partial = False

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, what: str, where: Location | None = None, hint: str = "", address: str = "", *, id: str = "") -> None:
        if where not in self._settled:
            self._found.append(Problem(what, where, hint, address, id))

    def missing(
        self, what: str, where: Location | None = None, hint: str = "", address: str = "", *, id: str = ""
    ) -> None:
        """Add that something is missing, unless input that could not be read may have declared it."""
        if not self.is_partial:
            self.add(what, where, hint, address, id=id)

    def settle(self) -> None:
        """From here on, what is found at a place that has a problem already follows from it, and is not told."""
        self._settled = frozenset(problem.where for problem in self._found if problem.where is not None)

    def extend(self, problems: Iterable[Problem]) -> None:
        self._found.extend(problem for problem in problems if problem.where not in self._settled)

    def raise_if_any(self, error: type[ProvisionerError] = InputError) -> None:
        """Raise all that was gathered, each problem once, sorted by place."""
        if self._found:
            nowhere = Location("")
            different = dict.fromkeys(self._found)
            raise error(*sorted(different, key=lambda problem: (problem.where or nowhere, problem.address)))


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the nearest of `known`, or else all of them when they are few."""
    names = sorted(known)
    near = get_close_matches(word, names, n=2, cutoff=0.6) or _beginning_with(word, names)[:2]
    if near:
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    if otherwise:
        return otherwise
    if 0 < len(names) <= 12:
        return "known: " + ", ".join(names)
    return ""


def _beginning_with(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if word and name.startswith(word)]
