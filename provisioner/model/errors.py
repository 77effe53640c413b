"""Errors as values: the place, the reason and the next step. They are gathered and raised once.

Every error that a user can meet is a `ProvisionerError` with one or more `Problem`s. The class sets the exit status.
Only the command line prints and exits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import ClassVar, Final

import msgspec

from provisioner.model.location import Location
from provisioner.model.words import foreign_letter, odd_characters


class Problem(msgspec.Struct, frozen=True):
    """One error: `what` is the reason, `hint` the next step, `where` and `address` the place.

    `where` is a place in the user's files; `address` names a live or desired map, inner map or entry (`tenants[42]`).
    `id` is stable and listed in docs/errors.md: `duplicate-key`.
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
    """Base class of all errors that a user can meet. `problems` is never empty."""

    exit_code: ClassVar[int] = 1

    status: str = "refused"
    """How an apply ended: `status` of its JSON `result`."""
    live: tuple[str, ...] = ()
    """The addresses that an apply changed and did not roll back."""

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
    """A safety rule stops the operation: a stale plan, a limit, `prevent_destroy`, ownership."""

    exit_code = 4


class HostError(ProvisionerError):
    """The host lacks a privilege, bpffs or libbpf, or the kernel refused; nothing was changed."""

    exit_code = 5


class InterruptError(ProvisionerError):
    """A signal ended the operation at a safe point."""

    exit_code = 130
    status = "interrupted"


class BugError(ProvisionerError):
    """An exception that no code foresaw; nothing was changed."""

    exit_code = 70

    @classmethod
    def of(cls, error: BaseException) -> BugError:
        hint = "report it, with the traceback that -v prints"
        return cls(Problem(f"this is a bug: {type(error).__name__}: {error}", hint=hint, id="bug"))


def out_of_memory(error: BaseException) -> Problem:
    """What to say of a MemoryError, or of a SystemError: where memory ends, the interpreter raises this one too."""
    hint = "free memory, or raise the limit of this process: `ulimit -v`"
    detail = f", probably: {error}" if isinstance(error, SystemError) else ""
    return Problem(f"out of memory{detail}", hint=hint, id="out-of-memory")


def unexpected(error: Exception) -> ProvisionerError:
    """An exception of no class of ours: what the host lacks, else a bug."""
    match error:
        case MemoryError() | SystemError():  # a library without memory may return NULL and set no exception
            return HostError(out_of_memory(error))
        case ImportError():  # a library of Python that is missing, or that does not fit into the memory limit
            hint = "check the memory limit (`ulimit -v`), else install the provisioner again"
            what = f"a Python library cannot be loaded: {str(error).splitlines()[-1] if str(error) else 'unknown'}"
            return HostError(Problem(what, hint=hint, id="library-missing"))
        case OSError(errno=int(), strerror=str(reason), filename=str() | bytes() as path):
            # A path of the user or of the host where it was not expected: too long, not permitted, an I/O error.
            name = path if isinstance(path, str) else path.decode(errors="replace")
            return HostError(Problem(reason, address=name, id="kernel-refused"))
        case _:
            return BugError.of(error)


class LockedError(ProvisionerError):
    """Another process holds the project's lock."""

    exit_code = 75


class Problems:
    """Collects problems, so that one run shows all of them.

    `is_partial` is set where a part of the input cannot be read: then nothing is reported as missing.
    """

    __slots__ = ("_found", "_settled", "is_partial")

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._settled: set[Location | None] = set()
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
        """Add that something is missing, unless the part of the input that cannot be read may declare it."""
        if not self.is_partial:
            self.add(what, where, hint, address, id=id)

    def settle(self) -> None:
        """From now on, ignore further problems at a place that already has one: they follow from it."""
        self._settled.update(problem.where for problem in self._found if problem.where is not None)

    def ignore(self, where: Location) -> None:
        """Ignore further problems at a place: they follow from a problem at another place."""
        self._settled.add(where)

    def extend(self, problems: Iterable[Problem]) -> None:
        self._found.extend(problem for problem in problems if problem.where not in self._settled)

    def raise_if_any(self, error: type[ProvisionerError] = InputError) -> None:
        """Raise all problems, each once, sorted by place: an anchor can have one text of the spec in several maps."""
        if self._found:
            nowhere = Location("")
            different: dict[Problem, Problem] = {}
            for problem in sorted(self._found, key=lambda problem: (problem.where or nowhere, problem.address)):
                same = msgspec.structs.replace(problem, address="") if problem.where else problem
                different.setdefault(same, problem)
            raise error(*different.values())


_FEW: Final = 12
"""Names that a hint lists in full."""


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for an unknown name: the nearest of `known`, `otherwise`, or all of `known` when they are few.

    `word` itself is never the suggestion. Spaces at the ends and invisible characters are named, and so is a letter
    that only looks like one of the suggestion.
    """
    if odd := odd_characters(word):
        return odd
    names = sorted(set(known) - {word})
    same = [name for name in names if _folded(name) == _folded(word)]
    if same:
        return f"write `{same[0]}`"
    near = get_close_matches(word, names, n=2, cutoff=0.6) or _beginning_with(word, names)[:2]
    if near:
        foreign = foreign_letter(word)
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?" + (f" {foreign}" if foreign else "")
    if otherwise:
        return otherwise
    if 0 < len(names) <= _FEW:
        return "known: " + ", ".join(names)
    return ""


def _folded(name: str) -> str:
    """A name without what people mistake most often: case, and `-` for `_`."""
    return name.casefold().replace("-", "_")


def _beginning_with(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if word and name.startswith(word)]
