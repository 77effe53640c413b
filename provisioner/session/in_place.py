"""Entries that a session changes in place: looked up, written, verified, taken back where that fails.

Most applies of a control plane are of this kind, and of maps that were judged before. Then nothing but entries can
differ from what was judged. Their number, which limits and room depend on, is judged here, and all else that a plan
decides is known. What is not so simple, or does not go well, is taken back and left to a plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from provisioner.apply import failures
from provisioner.apply.audit import AuditRecord, is_heard, record
from provisioner.apply.outcome import Status
from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.errors import ProvisionerError
from provisioner.model.pins import map_path
from provisioner.planning import fingerprint
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from provisioner.planning.rules import exceeded_limit
from provisioner.planning.steps import RecordMeta, WriteEntries
from provisioner.planning.targets import Targets
from provisioner.session.differences import Knowledge
from provisioner.session.edited_map import Done, EditedMap, OpenMap
from provisioner.session.entry_edits import Compared, is_editable, summary
from provisioner.session.touched import UnknownStateError


class InPlace:
    """The maps of a session as they are written in place; `spec` is the digest of the files, for the audit line."""

    _knows: Knowledge

    def __init__(self, overrides: Overrides, spec: str) -> None:
        self._overrides = overrides
        self._spec = spec
        self._held = ExitStack()
        self._maps: dict[str, EditedMap] = {}
        self._begun: hashlib._Hash | None = None

    def learn(self, knows: Knowledge) -> None:
        """Take over what is known after a full comparison, or with other files: no map has been judged with it."""
        self.close()
        self._knows = knows
        self._begun = None

    def judged(self, plan: Plan) -> None:
        """Note the maps of a plan that was applied: what it found of them holds for the next edits of entries."""
        knows = self._knows
        simple = all(
            isinstance(step, WriteEntries) or (isinstance(step, RecordMeta) and step.meta == knows.observed.meta)
            for step in plan.steps
        )
        if not simple or plan.blocked or plan.approved or knows.desired.pin_inner_maps:
            return
        for name in plan.maps:
            known = knows.maps[name]
            if name not in self._maps and known.live is not None and is_editable(known):
                path = Path(map_path(knows.desired, known.desired))
                self._maps[name] = self._held.enter_context(EditedMap(known, path))

    def close(self) -> None:
        """Let go of the programs that look up keys."""
        self._maps = {}
        self._held.close()

    def apply(self) -> list[Done] | None:
        """Do what is pending, and verify it. None where it is for a plan to do: then nothing has changed.

        Raises UnknownStateError where something could not be taken back, and InterruptError.
        """
        touched = self._knows.touched
        if not all(known.desired.name in self._maps for known in touched):
            return None
        touched.sort(key=lambda known: (known.desired.outer is None, known.desired.name))
        try:
            with ExitStack() as opened:
                each = [opened.enter_context(OpenMap(self._maps[known.desired.name])) for known in touched]
                return self._apply(each)
        except (KernelError, OSError):  # a plan does it again, and says what is wrong
            return None

    def _apply(self, opened: Sequence[OpenMap]) -> list[Done] | None:
        parts: list[Compared] = []
        for each in opened:
            part = each.look(self._knows.shared)
            if part is None or not part.has_room() or not self._is_allowed(part) or each.leaves_others(part):
                return None
            parts.append(part)
        each_part = list(zip(opened, parts, strict=True))
        if any(entry_table.how_many(part.changed) for part in parts):
            undos: list[Callable[[], None]] = []
            try:
                for each, part in each_part:
                    each.write(part, undos)
                is_done = all(each.verify(part) for each, part in each_part)
            except BaseException as error:
                _take_back(undos)
                if isinstance(error, ProvisionerError | OSError):
                    raise
                status = Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.ROLLED_BACK
                self._record(each_part, status)
                failure = failures.as_error(error, failures.problems(error))
                failure.status = status.value
                raise failure from error
            if not is_done:
                _take_back(undos)
                return None
            self._record(each_part, Status.APPLIED)
        return [each.done(part) for each, part in each_part]

    def _is_allowed(self, part: Compared) -> bool:
        limits = part.wanted.known.desired.limits or self._knows.desired.limits
        return self._overrides.approve_deletes or exceeded_limit(part.counted(), limits) is None

    def _record(self, parts: Sequence[tuple[OpenMap, Compared]], status: Status) -> None:
        """Leave the audit line that the plan would leave."""
        if not is_heard():
            return
        desired, meta = self._knows.desired, self._knows.observed.meta
        assert meta is not None
        if self._begun is None:
            self._begun = fingerprint.begun(desired.project, desired.pin_root, meta)
        names = frozenset(part.wanted.known.desired.name for _, part in parts)
        prints = {part.wanted.known.desired.name: each.fingerprint(part) for each, part in parts}
        wishes = (repr(Targets(names, (), frozenset()).addresses),)
        digest = fingerprint.finished(self._begun.copy(), prints, wishes)
        named = "apply", desired.project, desired.pin_root, f"sha256:{self._spec}", digest, status.value
        record(AuditRecord(*named, summary(part for _, part in parts), desired.revision))


def _take_back(undos: list[Callable[[], None]]) -> None:
    """Write what was live before, the latest first. Raises UnknownStateError where something is not as it was."""
    failed = False
    while undos:
        try:
            undos.pop()()
        except (ProvisionerError, OSError):
            failed = True
    if failed:
        raise UnknownStateError
