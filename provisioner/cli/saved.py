"""Saved plans: a small file that binds an apply to the plan that somebody has seen. It holds no keys and no values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from provisioner import InputError, Location, Overrides, Plan, Problem, RefusedError
from provisioner.files.reading import PLAN, InputFile

_FORMAT = "provisioner-plan-1"


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
    parts: dict[str, list[str]] = {}
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
        parts = {address: list(part) for address, part in now.fingerprints.items()}
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

    def use(self) -> None:
        """Mark it as used, under the project's lock. Raises RefusedError where another apply was faster."""
        read(self.path).check(self.project, self.pin_root)
        _write(replace(self, used=True))

    def _refused(self, what: str, hint: str) -> RefusedError:
        return RefusedError(Problem(what, Location(str(self.path)), hint))


def save(path: Path, plan: Plan, overrides: Overrides) -> None:
    """Write `plan` to `path`, in the place of what is there. Raises InputError where that cannot be."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    parts = {address: list(part) for address, part in plan.fingerprints.items()}
    of = plan.desired
    _write(SavedPlan(path, of.project, of.pin_root, plan.digest, created, overrides, parts=parts, targets=plan.targets))


def read(path: Path) -> SavedPlan:
    """The plan in `path`. Raises InputError where it is none."""
    try:
        fields = json.loads(InputFile(path, PLAN).read())
        if fields.pop("format") != _FORMAT:
            raise ValueError("of another format")
        typed = {"overrides": Overrides(**fields["overrides"]), "targets": tuple(fields.get("targets", ()))}
        return SavedPlan(path=path, **fields | typed)
    except OSError as error:
        raise InputError(Problem(f"can't read the plan: {error.strerror}", Location(str(path)))) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "`plan --out` writes plans"
        raise InputError(Problem("this is no saved plan", Location(str(path)), hint)) from error


def _differences(before: list[str] | None, now: list[str] | None) -> Iterator[str]:
    """What is not as it was about one address, in words."""
    if before is None or now is None:
        yield "the spec names it no more" if now is None else "the spec did not name it when the plan was made"
        return
    if before[0] != now[0]:
        yield "the spec, or a table or object that it reads, is not what it was when the plan was made"
    elif before[1] != now[1]:
        yield "what is live is not what it was when the plan was made"


def _write(plan: SavedPlan) -> None:
    """By one rename: there is always the one or the other. What is no file, such as a pipe, is written to instead."""
    fields = {"format": _FORMAT} | msgspec.to_builtins(plan, enc_hook=str)
    del fields["path"]
    if not plan.targets:
        del fields["targets"]
    temporary = plan.path.parent / f".{plan.path.name}.{os.getpid()}"
    text = json.dumps(fields, indent=2) + "\n"
    try:
        if plan.path.exists() and not plan.path.is_file():
            plan.path.write_text(text, "utf-8")
            return
        temporary.write_text(text, "utf-8")
        temporary.replace(plan.path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        hint = "save it elsewhere; nothing was changed"
        raise InputError(Problem(f"can't write the plan: {error.strerror}", Location(str(plan.path)), hint)) from error
