"""Saved plans: a small file that binds an apply to a plan that was reviewed. It contains no keys and no values."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from provisioner import InputError, Location, Overrides, Plan, Problem, RefusedError, __version__
from provisioner.files.reading import PLAN, InputFile, hint_of
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
    recreate: tuple[str, ...] = ()
    release: str = ""


class SavedPlan(msgspec.Struct, frozen=True):
    """The digest of a plan, its overrides, its time, and whether it was applied.

    `parts` are the digests that `digest` is computed from, by address: they show what differs. `release` is the version
    of the provisioner that made it; before 0.3.0, plans did not have it.
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
    recreate: tuple[str, ...] = ()
    release: str = ""

    def check(self, project: str, pin_root: str) -> None:
        """Raise RefusedError if the plan was used, or belongs to another project."""
        if self.used:
            raise RefusedError(Problem("this plan was already applied", self._place, "plan again", id="plan-used"))
        if (self.project, self.pin_root) != (project, pin_root):
            what = f"this plan is for project `{self.project}` at {self.pin_root}"
            raise RefusedError(
                Problem(what, self._place, "use the spec that it was made from", id="plan-of-another-project")
            )

    def check_same(self, now: Plan) -> None:
        """Raise RefusedError with all differences if `now` is another plan than this one."""
        if now.digest == self.digest:
            return
        if self.release != __version__:  # releases compute digests in different ways: they show no difference
            made = f"by provisioner {self.release}" if self.release else "by a provisioner before 0.3.0"
            what = f"this plan was made {made}, and {__version__} applies only its own plans"
            raise RefusedError(Problem(what, self._place, "plan again", id="plan-of-another-release"))
        parts = dict(now.fingerprints)
        problems = [
            Problem(what, hint="plan again", address=address, id="stale-plan")
            for address in sorted({*parts, *self.parts} if self.parts else ())
            for what in _differences(self.parts.get(address), parts.get(address))
        ]
        if problems:
            raise RefusedError(*problems)
        raise RefusedError(
            Problem(
                "the spec or the live state changed after the plan was made", self._place, "plan again", id="stale-plan"
            )
        )

    def check_targets(self, targets: tuple[str, ...]) -> None:
        """Raise RefusedError if the plan has other targets."""
        if self.targets != targets:
            given = " ".join(f"--target '{target}'" for target in self.targets)
            what = f"this plan was made {f'with {given}' if given else 'without --target'}"
            raise RefusedError(Problem(what, self._place, "apply it with the same targets", id="plan-of-other-targets"))

    def use(self) -> bool:
        """Mark the plan as used, under the project's lock. False if the file is in a read-only place.

        Such a plan is still refused after its apply, because it is stale then. Raises RefusedError if another apply
        used it first, and InputError if the file cannot be written for another reason.
        """
        target = Path(os.path.realpath(self.path))
        again = read(target)  # what is replaced must be this plan: the owner of a directory can make it a link
        again.check(self.project, self.pin_root)
        if again.digest != self.digest:
            what = "another plan took the place of this file"
            raise RefusedError(Problem(what, self._place, "plan again", id="stale-plan"))
        try:
            write_file(target, _encode(replace(self, used=True)))
        except OSError as error:
            if error.errno in _READ_ONLY:
                return False
            raise _unwritable(self.path, error) from error
        return True

    @property
    def _place(self) -> Location:
        return Location(str(self.path))


def save(path: Path, plan: Plan, overrides: Overrides) -> None:
    """Write `plan` to `path` and replace an existing file. Raises InputError if that fails."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    parts = dict(plan.fingerprints)
    project, pin_root = plan.desired.project, plan.desired.pin_root
    saved = SavedPlan(path, project, pin_root, plan.digest, created, overrides, parts=parts, targets=plan.targets)
    saved = replace(saved, recreate=plan.recreate, release=__version__)
    try:
        write_file(path, _encode(saved))
    except OSError as error:
        raise _unwritable(path, error) from error


def read(path: Path) -> SavedPlan:
    """The plan in `path`. Raises InputError if the file is not a saved plan."""
    place = Location(str(path))
    try:
        file = msgspec.json.decode(InputFile(path, PLAN).read(), type=_File)
    except OSError as error:
        what = f"cannot read the plan: {error.strerror}"
        raise InputError(Problem(what, place, hint_of(error, path), id="unreadable-plan")) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        hint = "`plan --out` writes saved plans"
        raise InputError(Problem(f"malformed plan: {error}", place, hint, id="not-a-plan")) from error
    fields = {name: getattr(file, name) for name in SavedPlan.__struct_fields__[1:]}
    return SavedPlan(path, **{**fields, "targets": file.targets or ()})


def _differences(before: tuple[str, str] | None, now: tuple[str, str] | None) -> Iterator[str]:
    """What changed at one address, in words."""
    if before is None or now is None:
        yield (
            "removed from the spec after the plan was made"
            if now is None
            else "added to the spec after the plan was made"
        )
        return
    if before[0] != now[0]:
        yield "the spec, or a table or object that it reads, changed after the plan was made"
    elif before[1] != now[1]:
        yield "the live state changed after the plan was made"


def _encode(plan: SavedPlan) -> bytes:
    fields = {name: getattr(plan, name) for name in SavedPlan.__struct_fields__[1:]}
    text = msgspec.json.encode(_File(format=_FORMAT, **{**fields, "targets": plan.targets or msgspec.UNSET}))
    return msgspec.json.format(text, indent=2) + b"\n"


def _unwritable(path: Path, error: OSError) -> InputError:
    hint = "save it elsewhere; nothing was changed"
    return InputError(Problem(f"cannot write the plan: {error.strerror}", Location(str(path)), hint, id="write-failed"))
