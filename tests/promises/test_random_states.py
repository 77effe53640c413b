"""Any desired state over any live state: it comes true and nothing else changes, or it is refused and nothing changes.

Other hands write the project's maps by raw system calls between applies: slots, entries, padding, wrong shapes, missing
pins, frozen maps, one inner map in two slots, pins of strangers, programs and links where a map should be. One outer
map is of their making, and adopted. Each apply is one of the command line's own.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import socket
import struct
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from provisioner.cli import app
from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.fd import FdSet, InnerId, MapFd
from provisioner.model.attachment import CreateLink
from provisioner.model.pins import META_PIN
from provisioner.model.uapi import AttachType
from tests.conftest import Veth, remove_tree
from tests.promises import oracle, wishes
from tests.promises.hands import CPUS, Live, kind_of, look, make_inner, pin_outer, publish
from tests.promises.wishes import ADOPTED, KINDS, OUTER_NAMES, PLAIN, SLOTS, Kind, Wish

_KINDS: Final = st.sampled_from(sorted(KINDS)).map(KINDS.__getitem__)
_NAMES: Final = st.sampled_from(OUTER_NAMES)
_SLOTS: Final = st.sampled_from(SLOTS)
_POLICY: Final = {"extra_inner_maps", "on_replace", "adopted-shape", "adopted-missing", "frozen", "no-room"}
"""What no override lifts."""

_RULES: Final = _POLICY | {"recreate", "delete_percent", "update_percent", "ownership"}


@cache
def _command() -> Any:
    """The command line, built once: that takes longer than most applies here."""
    return typer.main.get_command(app.all_verbs())


class Ran:
    """How a verb of the command line ended."""

    def __init__(self, *words: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = _command().main([*words, "--format", "json"], prog_name="provisioner", standalone_mode=False)
        self.status = int(status)
        self.document: dict[str, Any] = json.loads(out.getvalue()) if out.getvalue() else {}
        self.errors: list[dict[str, Any]] = json.loads(err.getvalue())["errors"] if err.getvalue() else []

    @property
    def end(self) -> str:
        return str(self.document.get("result", {}).get("status", "refused"))

    def __repr__(self) -> str:
        return f"exit {self.status}, {self.end}: {[error['message'] for error in self.errors]}"


class States(RuleBasedStateMachine):
    """One project, and all the hands that write its maps."""

    mount: Path
    others: Path
    folder: Path
    ends: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.root, self.theirs, self.elsewhere = (self.mount / name for name in ("edge", "theirs", "elsewhere"))
        self.templates: dict[int, Kind] = {}
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
        return {name: one for name, one in self._look().items() if one.kind == "map"}

    # --- the provisioner ------------------------------------------------------------------------------------------

    @rule(wish=wishes.wishes)
    def apply_anew(self, wish: Wish) -> None:
        self._apply(wish)

    @rule(wish=wishes.wishes, force=st.booleans(), prune=st.booleans())
    def apply_with_options(self, wish: Wish, force: bool, prune: bool) -> None:
        self._apply(self._as_live(wish), force=force, prune=prune)

    @rule(wish=wishes.wishes)
    def apply(self, wish: Wish) -> None:
        self._apply(self._as_live(wish))

    @rule(wish=wishes.wishes)
    def apply_once_more(self, wish: Wish) -> None:  # so that of all rules, many are applies
        self._apply(self._as_live(wish))

    def _as_live(self, wish: Wish) -> Wish:
        """The same wish for maps of the shapes that are live, so that these need not be made anew."""
        live = self._look_at_maps()
        outer = {}
        for name, wished in wish.outer.items():
            kind = self.templates.get(live[name].id) if name in live else None
            if kind is not None:
                shape = live[name].shape
                known = next(word for word, other in KINDS.items() if other == kind)
                wished = replace(wished, type=shape.map_type.word, room=shape.max_entries, kind=known)
            outer[name] = wished
        return replace(wish, outer=outer)

    def _apply(self, wish: Wish, *, force: bool = True, prune: bool = False) -> None:
        spec = self._write(wish)
        options = ["--pin-root", str(self.root), *(["--force", "--take-over"] if force else [])]
        options += ["--prune"] if prune else []
        before, existed = self._look(), self.root.exists()
        planned = Ran("plan", spec, *options)
        ran = Ran("apply", spec, "--yes", *options)
        after = self._look()
        self.ends[f"{ran.status} {ran.end}"] += 1
        if ran.status != 0:
            self._refused(wish, planned, ran, before, after, force=force)
            assert self.root.exists() == existed
            return
        assert planned.status == (2 if ran.end == "applied" else 0), planned
        assert not (faults := list(oracle.wrong(wish, before, after, prune=prune))), "\n".join(faults)
        if ran.end == "unchanged":
            assert after == before
        assert ran.document["result"]["fds_before"] == ran.document["result"]["fds_after"]
        again = Ran("plan", spec, *options)
        assert (again.status, again.document["steps"]) == (0, []), again
        for name, wished in wish.outer.items():
            self.templates[after[name].id] = wished.template

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
        ran = Ran("destroy", self._write(wish), "--yes", "--force", "--take-over", "--pin-root", str(self.root))
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

    # --- other hands ----------------------------------------------------------------------------------------------

    @rule(
        name=_NAMES,
        kind=_KINDS,
        outer=st.sampled_from(("hash_of_maps", "array_of_maps")),
        room=st.sampled_from((6, 6, 8)),
        filled=st.dictionaries(_SLOTS, wishes.entries, max_size=2),
    )
    def make_outer(self, name: str, kind: Kind, outer: str, room: int, filled: dict[int, dict[int, int]]) -> None:
        """Another outer map under that name, of whatever shape: the pin is new, or is replaced."""
        self._pin(name).parent.mkdir(exist_ok=True)
        shape = wishes.WishedOuter(outer, "hash", room, {}).shape
        pin_outer(self._pin(name), shape, kind)
        with maps.open_pin(self._pin(name)) as fd:
            self.templates[int(maps.info(fd).id)] = kind
        self._put(name, kind, 8, filled, 0)

    @rule(
        name=_NAMES, slot=_SLOTS, entries=wishes.entries, room=st.sampled_from((8, 16)), padding=st.sampled_from((0, 5))
    )
    def put(self, name: str, slot: int, entries: dict[int, int], room: int, padding: int) -> None:
        """A map of somebody else's in a slot."""
        live = self._look_at_maps().get(name)
        if live is None or live.frozen or live.id not in self.templates:
            return
        self._put(name, self.templates[live.id], room, {slot: entries}, padding)

    def _put(self, name: str, kind: Kind, room: int, filled: Mapping[int, Mapping[int, int]], padding: int) -> None:
        with maps.open_pin(self._pin(name)) as outer, FdSet[MapFd]() as made:
            for entries in filled.values():
                made.add(make_inner(kind, room, entries, padding))
            publish(outer, list(filled), made)

    @rule(name=_NAMES, other=_NAMES, slot=_SLOTS, number=st.integers(0, 5))
    def put_again(self, name: str, other: str, slot: int, number: int) -> None:
        """An inner map that is live in one slot, into another one as well, of this outer map or the other."""
        live = self._look_at_maps()
        if name not in live or other not in live or not live[name].slots or live[other].frozen:
            return
        slots = list(live[name].slots.values())
        inner = slots[number % len(slots)]
        if live[other].id not in self.templates or kind_of(inner.shape) != self.templates[live[other].id]:
            return
        with maps.open_pin(self._pin(other)) as outer, FdSet[MapFd]() as made:
            made.add(maps.open_id(InnerId(inner.id)))
            publish(outer, [slot], made)

    @rule(name=_NAMES, number=st.integers(0, 5))
    def empty(self, name: str, number: int) -> None:
        live = self._look_at_maps().get(name)
        if live is None or live.frozen or not live.slots:
            return
        slots = sorted(live.slots)
        with maps.open_pin(self._pin(name)) as outer:
            maps.delete(outer, struct.pack("<I", slots[number % len(slots)]))

    @rule(
        name=_NAMES,
        number=st.integers(0, 5),
        key=st.sampled_from(wishes.KEYS),
        value=st.sampled_from((None, 0, 1, 2)),
        padding=st.sampled_from((0, 9)),
    )
    def write(self, name: str, number: int, key: int, value: int | None, padding: int) -> None:
        """One entry of an inner map is written or deleted; a value may be what it was, with other padding."""
        live = self._look_at_maps().get(name)
        inners = [inner for inner in live.slots.values() if not inner.frozen] if live is not None else []
        if not inners:
            return
        inner = inners[number % len(inners)]
        kind = kind_of(inner.shape)
        assert kind is not None
        with maps.open_id(InnerId(inner.id)) as fd:
            if value is not None:
                maps.update(fd, kind.key(key), kind.value(value, CPUS, padding))
            elif kind.key(key) in inner.entries and not kind.shape.is_array:
                maps.delete(fd, kind.key(key))

    @rule(name=_NAMES, number=st.integers(0, 5), what=st.sampled_from(("inner", "inner", "outer", PLAIN)))
    def freeze(self, name: str, number: int, what: str) -> None:
        live = self._look_at_maps()
        live_map = live.get(PLAIN if what == PLAIN else name)
        if live_map is None:
            return
        slots = [inner.id for inner in live_map.slots.values() if not inner.frozen]
        if what == "inner" and slots:
            with maps.open_id(InnerId(slots[number % len(slots)])) as fd:
                maps.freeze(fd)
        elif what != "inner" and not live_map.frozen:
            with maps.open_pin(self._pin(PLAIN if what == PLAIN else name)) as fd:
                maps.freeze(fd)

    @precondition(lambda self: self.root.exists())
    @rule(name=st.sampled_from((*OUTER_NAMES, PLAIN, META_PIN, "stranger")))
    def unpin(self, name: str) -> None:
        bpffs.unpin(self._pin(name))

    @precondition(lambda self: self.root.exists())
    @rule(name=st.sampled_from((PLAIN, "stranger", "stranger", "_new_one", "_old_two")), kind=_KINDS)
    def pin(self, name: str, kind: Kind) -> None:
        """A plain map of any shape under the project's name or another one; or what a killed apply left."""
        with make_inner(kind, 8, {1: 1}) as fd:
            bpffs.pin_replace(fd, self._pin(name))

    @precondition(lambda self: self.root.exists())
    @rule(
        name=st.sampled_from((*OUTER_NAMES, PLAIN, "stranger", "_new_one")),
        what=st.sampled_from(("map", "program", "link")),
    )
    def pin_another_kind(self, name: str, what: str) -> None:
        """What should not be under a name: a program, a link, or a plain map where an outer one should be."""
        with make_inner(KINDS["hash"], 8, {}) if what == "map" else bpffs.open_any(self.others / what) as fd:
            bpffs.pin_replace(fd, self._pin(name))

    @invariant()
    def what_lies_elsewhere_stays(self) -> None:
        assert look(self.elsewhere) == self.stranger
        assert look(self.others) == self.seen


@dataclass(frozen=True, slots=True)
class Share:
    """What one of the processes does: these wait for the kernel most of the time, and can wait together."""

    number: int
    mount: Path
    others: Path
    folder: Path
    full: bool

    def run(self) -> tuple[int, Counter[str], str]:
        """The steps made, how applies ended, and what is wrong, with the history that led to it."""
        steps, ends = 0, Counter[str]()
        share = self

        class Counted(States):
            mount, folder = share.mount / str(share.number), share.folder / str(share.number)
            others = share.others

            def __init__(self) -> None:
                self.ends = ends
                super().__init__()

            @invariant()
            def count(self) -> None:
                nonlocal steps
                steps += 1

        Counted.mount.mkdir()
        Counted.folder.mkdir()
        examples, length = (200, 60) if self.full else (10, 40)
        try:
            run_state_machine_as_test(
                Counted if self.full else seed(self.number)(Counted),
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=length,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate, Phase.shrink) if self.full else (Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception as error:
            return steps, ends, "".join(traceback.format_exception(error))
        finally:
            Counted.mount.rmdir()
        return steps, ends, ""


SHARES: Final = 6


@pytest.fixture
def others(kernel: Path, veth: Veth, bpf_object: Callable[[str], Path]) -> Iterator[Path]:
    """A directory where another process pinned a program and a link."""
    folder = kernel / "others"
    folder.mkdir()
    template = {"tenants": KINDS["hash"].shape}
    with objects.load(bpf_object("outers"), inner_templates=template, only_programs={"second"}) as loaded:
        program = loaded.programs["second"]
        with links.create(program, CreateLink(AttachType.XDP), socket.if_nametoindex(veth.name)) as link:
            bpffs.pin(program, folder / "program")
            bpffs.pin(link, folder / "link")
    yield folder
    remove_tree(folder)


def test_any_desired_state_over_any_live_state(
    kernel: Path, others: Path, tmp_path: Path, full_sweep: bool, figures: list[str]
) -> None:
    shares = [Share(number, kernel, others, tmp_path, full_sweep) for number in range(SHARES)]
    with ProcessPoolExecutor(SHARES, mp_context=multiprocessing.get_context("fork")) as processes:
        done = list(processes.map(Share.run, shares))
    assert not (wrong := [trouble for _, _, trouble in done if trouble]), "\n\n".join(wrong)
    ends = sum((ends for _, ends, _ in done), Counter[str]())
    another = ends.pop(oracle.ANOTHER_KIND)
    assert {"0 applied", "0 unchanged", "4 refused", "5 refused"} <= ends.keys(), ends
    assert another
    steps = sum(steps for steps, _, _ in done)
    assert steps > 2000
    figures.append(
        f"random states: {steps:,} steps; how applies ended: {dict(sorted(ends.items()))}; "
        f"of the refused, {another} for a program or a link where a map should be"
    )
