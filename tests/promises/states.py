"""One project of the random states: its applies and destroys, each held against the oracle."""

from __future__ import annotations

import gc
import io
import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provisioner.cli import app
from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId
from tests.conftest import remove_tree
from tests.promises import oracle, wishes
from tests.promises.hands import CPUS, Live, LiveInner, kind_of, look, make_inner
from tests.promises.raising import BUG, CLASSES, STATUS, Raiser
from tests.promises.wishes import ADOPTED, KINDS, OUTER_NAMES, Kind, Wish

_POLICY: Final = {"extra_inner_maps", "on_replace", "adopted-shape", "adopted-missing", "frozen", "no-room"}
"""What no override lifts."""

_NAMES: Final = st.sampled_from(OUTER_NAMES)
_RULES: Final = _POLICY | {"recreate", "delete_percent", "update_percent", "ownership"}


@cache
def _command() -> Any:
    """The command line, built once: that takes longer than most applies here."""
    return typer.main.get_command(app.all_verbs())


@contextmanager
def _raising(raiser: Raiser | None) -> Iterator[None]:
    """An exception ends the apply where `raiser` says; what it loses is closed as it is collected."""
    if raiser is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with raiser.raising():
                yield
        finally:
            gc.collect()


def _fds() -> dict[str, str]:
    """What this process has open, by number."""
    names = sorted(os.listdir("/proc/self/fd"))
    return {name: os.readlink(f"/proc/self/fd/{name}") for name in names if os.path.lexists(f"/proc/self/fd/{name}")}


def _settled_fds(wanted: dict[str, str]) -> dict[str, str]:
    """What is open once all has been collected: a worker thread can hold its last task for another moment."""
    for _ in range(500):
        gc.collect()
        if (fds := _fds()) == wanted:
            break
        time.sleep(0.01)
    return fds


class Ran:
    """How a verb of the command line ended."""

    def __init__(self, *words: str, raiser: Raiser | None = None) -> None:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), _raising(raiser):
            form = ["--log-format" if words[0] == "export" else "--format", "json"]
            status = _command().main([*words, *form], prog_name="provisioner", standalone_mode=False)
        self.status = int(status)
        self.document: dict[str, Any] = json.loads(out.getvalue()) if out.getvalue() else {}
        is_report = err.getvalue().startswith('{"errors"') or err.getvalue().startswith("{\n")
        self.errors: list[dict[str, Any]] = json.loads(err.getvalue())["errors"] if is_report else []

    @property
    def end(self) -> str:
        return str(self.document.get("result", {}).get("status", "refused"))

    def __repr__(self) -> str:
        return f"exit {self.status}, {self.end}: {[error['message'] for error in self.errors]}"


class Project(RuleBasedStateMachine):
    """One project, and all the hands that write its maps."""

    mount: Path
    others: Path
    folder: Path
    ends: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.root, self.theirs, self.elsewhere = (self.mount / name for name in ("edge", "theirs", "elsewhere"))
        self.templates: dict[int, Kind] = {}
        self.made: set[int] = set()
        self.last = Wish()
        self.theirs.mkdir()
        self.elsewhere.mkdir()
        with make_inner(KINDS["padded"], 8, {1: 1, 2: 2}, padding=7) as stranger:
            bpffs.pin(stranger, self.elsewhere / "stranger")
        self.stranger, self.seen = look(self.elsewhere), look(self.others)

    def teardown(self) -> None:
        for folder in (self.root, self.theirs, self.elsewhere):
            if folder.exists():
                remove_tree(folder)

    def _pin(self, name: str) -> Path:
        return (self.theirs if name == ADOPTED else self.root) / name

    def _look(self) -> Live:
        """All that a wish is about: what the project pinned, and what it adopts."""
        return look(self.root) | look(self.theirs)

    def _look_at_maps(self) -> Live:
        return {name: live for name, live in self._look().items() if live.kind == "map"}

    # --- the provisioner ------------------------------------------------------------------------------------------

    @rule(wish=wishes.wishes)
    def apply_again(self, wish: Wish) -> None:
        self._apply(wish)

    @rule(wish=wishes.wishes, force=st.booleans(), prune=st.booleans())
    def apply_with_options(self, wish: Wish, force: bool, prune: bool) -> None:
        self._apply(self._as_live(wish), force=force, prune=prune)

    @rule(wish=wishes.wishes)
    def apply(self, wish: Wish) -> None:
        self._apply(self._as_live(wish))

    @rule(other=st.sampled_from((0, 3, 4)))
    def apply_other_values(self, other: int) -> None:
        """What was applied last, with another value in each entry, after a program wrote its member of all values."""
        wish = self._as_live(self.last)
        for outer in self._look_at_maps().values():
            for inner in outer.slots.values():
                self._write_beside(inner, other)
        self._apply(wishes.with_other_values(wish))

    @rule(wish=wishes.wishes, room=st.sampled_from(wishes.ROOMS), retyped=st.booleans(), force=st.booleans())
    def apply_resized(self, wish: Wish, room: int, retyped: bool, force: bool) -> None:
        """Outer maps of the live shapes, except for their max_entries and, where `retyped`, their types."""
        live = self._as_live(wish).outer
        outers = {name: wishes.retyped(outer) for name, outer in live.items()} if retyped else live
        resized = {name: wishes.resized(outer, room) for name, outer in outers.items()}
        self._apply(replace(wish, outer=resized), force=force)

    @rule(wish=wishes.wishes, name=_NAMES, number=st.none() | st.integers(0, 3))
    def apply_recreating(self, wish: Wish, name: str, number: int | None) -> None:
        """`--replace` of an outer map, or of one of its slots."""
        wish = self._as_live(wish)
        slots = sorted(wish.outer[name].slots) if name in wish.outer else []
        if name not in wish.outer or (number is not None and number >= len(slots)):
            return
        if number is None and name == ADOPTED:
            return
        self._apply(wish, recreate=name if number is None else f"{name}[{slots[number]}]")

    @rule(
        wish=wishes.wishes,
        event=st.sampled_from(("call", "return")),
        at=st.integers(1, 250),
        raised=st.sampled_from(sorted(CLASSES)),
    )
    def apply_that_an_exception_ends(self, wish: Wish, event: str, at: int, raised: str) -> None:
        """All is as before, or as it should be after; and the next apply converges."""
        wish = self._as_live(wish)
        spec, options = self._write(wish), [*self._root, "--force", "--take-over"]
        before, fds = self._look(), _fds()
        raiser = Raiser(event, at, raised)
        ran = Ran("apply", spec, "--yes", *options, raiser=raiser)
        after = self._look()
        assert _settled_fds(fds) == fds, (ran, raiser.where)
        if raiser.count >= at:
            self.ends["exception"] += 1
            assert ran.status in (0, 3, STATUS.get(raised, BUG)), ran
            assert ran.status == 0 or ran.errors, ran
        if after != before:
            assert not (wrong := list(oracle.wrong(wish, before, after, made=self.made))), f"{ran}: " + "\n".join(wrong)
            self._remember_templates(wish, after)
        self._apply(wish)

    @staticmethod
    def _write_beside(inner: LiveInner, other: int) -> None:
        """Write the member `b` of all entries, as a program does: all else stays."""
        kind = kind_of(inner.shape)
        if kind is None or not kind.first or inner.frozen:
            return
        with maps.open_id(InnerId(inner.id)) as fd:
            for key, value in inner.entries.items():
                maps.update(fd, key, kind.beside(value, other, CPUS))

    def _as_live(self, wish: Wish) -> Wish:
        """The same wish for maps of the shapes that are live, so that these need not be made again."""
        live = self._look_at_maps()
        outers = {}
        for name, outer in wish.outer.items():
            kind = self.templates.get(live[name].id) if name in live else None
            if kind is not None:
                shape = live[name].shape
                known = next(word for word, other in KINDS.items() if other == kind)
                outer = wishes.of_kind(replace(outer, type=shape.map_type.word), known)
                outer = wishes.resized(outer, shape.max_entries)
            outers[name] = outer
        return replace(wish, outer=outers)

    @property
    def _root(self) -> tuple[str, str]:
        return "--pin-root", str(self.root)

    def _apply(self, wish: Wish, *, force: bool = True, prune: bool = False, recreate: str = "") -> None:
        spec = self._write(wish)
        options = [*self._root, *(["--force", "--take-over"] if force else []), *(["--prune"] if prune else [])]
        also = ["--replace", recreate] if recreate else []
        before, existed = self._look(), self.root.exists()
        planned = Ran("plan", spec, *options, *also)
        ran = Ran("apply", spec, "--yes", *options, *also)
        after = self._look()
        self.ends[f"{ran.status} {ran.end}"] += 1
        if ran.status != 0:
            self._refused(wish, planned, ran, before, after, force=force)
            assert self.root.exists() == existed
            return
        assert planned.status == (2 if ran.end == "applied" else 0), planned
        wrong = list(oracle.wrong(wish, before, after, prune=prune, recreate=recreate, made=self.made))
        assert not wrong, "\n".join(wrong)
        if ran.end == "unchanged":
            assert after == before
        self.last = wish
        self.ends["members"] += oracle.has_written_members(wish, before, after)
        assert ran.document["result"]["fds_before"] == ran.document["result"]["fds_after"]
        again = Ran("plan", spec, *options)
        assert (again.status, again.document["steps"]) == (0, []), again
        self._remember_templates(wish, after)

    def _remember_templates(self, wish: Wish, after: Live) -> None:
        for name, outer in wish.outer.items():
            self.templates.setdefault(after[name].id, outer.template)  # an empty map can have another one than the spec
            self.made.add(after[name].id)

    def _refused(self, wish: Wish, planned: Ran, ran: Ran, before: Live, after: Live, *, force: bool) -> None:
        assert after == before, f"{ran}: {before} became {after}"
        assert ran.errors, ran
        assert all(error["message"] for error in ran.errors), ran
        why = set(oracle.excuses(wish, before, self.templates))
        if ran.status == 4 and planned.status != 4:
            assert oracle.UNSEEN_TEMPLATE in why, (planned, ran)
            return
        if ran.status == 4:
            rules = {blocked["rule"] for blocked in planned.document["blocked"]}
            assert rules
            assert rules <= (_POLICY if force else _RULES)
            crowded = {blocked["address"] for blocked in planned.document["blocked"] if blocked["rule"] == "no-room"}
            assert crowded <= set(oracle.crowded(wish, before)), (planned.document["blocked"], before)
            self.ends["no-room"] += bool(crowded)
            return
        assert ran.status in (3, 5), ran
        assert ran.end == ("rolled_back" if ran.status == 3 else "refused"), ran
        assert why, f"{ran}, for no reason"
        if oracle.ANOTHER_KIND in why:
            assert (planned.status, ran.status) == (5, 5), ran
            assert any(error["id"] == "pin-kind" for error in ran.errors), ran
            self.ends[oracle.ANOTHER_KIND] += 1

    @precondition(lambda self: self.root.exists())
    @rule(wish=wishes.wishes)
    def destroy(self, wish: Wish) -> None:
        before = self._look()
        ran = Ran("destroy", self._write(wish), "--yes", "--force", "--take-over", *self._root)
        after = self._look()
        self.ends[f"destroy {ran.status} {ran.end}"] += 1
        if ran.status == 0:
            assert not self.root.exists()
            assert not (faults := list(oracle.wrong_destroyed(wish, before, after))), "\n".join(faults)
            return
        assert after == before
        assert ran.errors, ran
        assert ran.end == "refused", ran
        if ran.status == 5:
            assert oracle.ANOTHER_KIND in oracle.excuses(wish, before, self.templates)
        else:
            assert ran.status == 4, ran

    def _write(self, wish: Wish) -> str:
        path = self.folder / "edge.yaml"
        path.write_text(yaml.dump(wish.tree(self.theirs), Dumper=yaml.CSafeDumper, sort_keys=False))
        return str(path)

    @invariant()
    def what_lies_elsewhere_stays(self) -> None:
        assert look(self.elsewhere) == self.stranger
        assert look(self.others) == self.seen
