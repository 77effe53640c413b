"""Saved plans: a small file that binds an apply to the plan that somebody has seen. It holds no keys and no values."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from provisioner import InputError, Location, Overrides, Plan, Problem, RefusedError
from provisioner.files.reading import PLAN, InputFile
from provisioner.files.writing import write_file

_FORMAT: Final = "provisioner-plan-1"
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a saved plan."""

    format: Literal["provisioner-plan-1"]
    project: str
    pin_root: str
    digest: str
    created: str
    overrides: Overrides
    used: bool = False
    parts: dict[str, tuple[str, str]] = {}
    targets: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class SavedPlan(msgspec.Struct, frozen=True):
    """What is kept of a plan: its digest, what was allowed for it, when it was made, and whether it was applied.

    `parts` are the digests that the one is made of, by address: they tell what differs.
    """

    path: Path
    project: str
    pin_root: str
    digest: str
    created: str
    overrides: Overrides
    used: bool = False
    parts: dict[str, tuple[str, str]] = {}
    targets: tuple[str, ...] = ()

    def check(self, project: str, pin_root: str) -> None:
        """Raise RefusedError where it was used, or is another project's."""
        if self.used:
            raise self._refused("this plan was applied before", "plan again")
        if (self.project, self.pin_root) != (project, pin_root):
            raise self._refused(
                f"this is a plan of project `{self.project}` at {self.pin_root}", "give the spec that it was made from"
            )

    def check_same(self, now: Plan) -> None:
        """Raise RefusedError, with all that differs, where `now` is another plan than this one."""
        if now.digest == self.digest:
            return
        parts = dict(now.fingerprints)
        problems = [
            Problem(what, hint="plan again", address=address)
            for address in sorted({*parts, *self.parts} if self.parts else ())
            for what in _differences(self.parts.get(address), parts.get(address))
        ]
        if problems:
            raise RefusedError(*problems)
        raise self._refused("the spec or the live state is not what it was when the plan was made", "plan again")

    def check_targets(self, targets: tuple[str, ...]) -> None:
        """Raise RefusedError where it is limited to other targets than these."""
        if self.targets != targets:
            given = " ".join(f"--target '{one}'" for one in self.targets)
            raise self._refused(
                f"this plan was made {f'with {given}' if given else 'without --target'}", "apply it in the same way"
            )

    def use(self) -> bool:
        """Mark it as used, under the project's lock. False where that cannot be: it is in a read-only place.

        Such a plan is still refused after its apply, as the live state is another one then. Raises RefusedError where
        another apply was faster, InputError where the file cannot be written for another reason.
        """
        read(self.path).check(self.project, self.pin_root)
        try:
            write_file(Path(os.path.realpath(self.path)), _encode(replace(self, used=True)))
        except OSError as error:
            if error.errno in _READ_ONLY:
                return False
            raise _unwritable(self.path, error) from error
        return True

    def _refused(self, what: str, hint: str) -> RefusedError:
        return RefusedError(Problem(what, Location(str(self.path)), hint))


def save(path: Path, plan: Plan, overrides: Overrides) -> None:
    """Write `plan` to `path`, in the place of what is there. Raises InputError where that cannot be."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    parts = dict(plan.fingerprints)
    of = plan.desired
    saved = SavedPlan(path, of.project, of.pin_root, plan.digest, created, overrides, parts=parts, targets=plan.targets)
    try:
        write_file(path, _encode(saved))
    except OSError as error:
        raise _unwritable(path, error) from error


def read(path: Path) -> SavedPlan:
    """The plan in `path`. Raises InputError where it is none."""
    place = Location(str(path))
    try:
        file = msgspec.json.decode(InputFile(path, PLAN).read(), type=_File)
    except OSError as error:
        raise InputError(Problem(f"can't read the plan: {error.strerror}", place)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"malformed plan: {error}", place, "`plan --out` writes plans")) from error
    fields = {name: getattr(file, name) for name in SavedPlan.__struct_fields__[1:]}
    return SavedPlan(path, **{**fields, "targets": file.targets or ()})


def _differences(before: tuple[str, str] | None, now: tuple[str, str] | None) -> Iterator[str]:
    """What is not as it was about one address, in words."""
    if before is None or now is None:
        yield "the spec names it no more" if now is None else "the spec did not name it when the plan was made"
        return
    if before[0] != now[0]:
        yield "the spec, or a table or object that it reads, is not what it was when the plan was made"
    elif before[1] != now[1]:
        yield "what is live is not what it was when the plan was made"


def _encode(plan: SavedPlan) -> bytes:
    fields = {name: getattr(plan, name) for name in SavedPlan.__struct_fields__[1:]}
    text = msgspec.json.encode(_File(format=_FORMAT, **{**fields, "targets": plan.targets or msgspec.UNSET}))
    return msgspec.json.format(text, indent=2) + b"\n"


def _unwritable(path: Path, error: OSError) -> InputError:
    hint = "save it elsewhere; nothing was changed"
    return InputError(Problem(f"can't write the plan: {error.strerror}", Location(str(path)), hint))
