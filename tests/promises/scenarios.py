"""What the sweeps take apart: pairs of specs, one applied over the other; and the live state as a value."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from provisioner.apply import Options
from provisioner.kernel import bpffs, host, links, maps, reading
from provisioner.kernel.fd import InnerId, LinkFd, MapFd, ProgramFd
from provisioner.model.pins import INNER_PINS, META_PIN, TEMPORARY_PREFIXES, is_link
from provisioner.model.uapi import MapType
from provisioner.observed import filter_pins
from provisioner.planning.hazards import Overrides
from provisioner.project import Project
from provisioner.project.opening import load
from tests import ledger, recorder
from tests.promises.injection import Ran

FULL: Final = os.environ.get("PROVISIONER_SWEEP") == "full"
"""Every point, and long runs; otherwise a sample that CI has time for."""

ALL: Final = Overrides(approve_deletes=True, allow_recreate=True)

INTERFACE: Final = "veth-a"

HEAD: Final = "version: 1\nname: edge\n"

_MAPS: Final = """
inner_templates:
  rules: {{type: hash, key: u32, value: u32, max_entries: 8}}
  wide: {{type: array, key: u32, value: {{struct: {{a: u64, b: u64}}}}, max_entries: 4}}
maps:
  switch: {{type: array, key: u32, value: u32, max_entries: 1, entries: {{0: {switch}}}, after: [tenants, vips]}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: 8, inner: rules, inner_maps: {{{tenants}}}}}
  vips: {{type: array_of_maps, key: u32, max_entries: 4, inner: wide, inner_maps: {{{vips}}}}}
"""
ONE: Final = HEAD + _MAPS.format(
    switch=1,
    tenants="1: {entries: {1: 1, 2: 2}}, 2: {entries: {3: 3}}, 3: {entries: {4: 4}}",
    vips="0: {entries: {0: {a: 1, b: 1}}}, 1: {entries: {1: {a: 7, b: 7}}}",
)
OTHER: Final = HEAD + _MAPS.format(  # in place, more room, gone, new; replaced, gone, new
    switch=2,
    tenants="1: {entries: {1: 9, 5: 5}}, 2: {max_entries: 16, entries: {3: 3}}, 4: {entries: {6: 6}}",
    vips="0: {entries: {0: {a: 2, b: 2}}}, 2: {entries: {3: {a: 3, b: 3}}}",
)

ELSEWHERE: Final = (
    HEAD
    + """
maps:
  served: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: 1}, pin: ELSEWHERE/served, own: true}
"""
)
"""A map outside of the pin root, in a directory that is created for it."""

_SHAPES: Final = """
inner_templates:
  counts: {{type: hash, key: u32, value: {value}, max_entries: 8, contents: present, {migrate}}}
  wide: {{type: array, key: u32, value: u64, max_entries: 4}}
maps:
  total: {{type: hash, key: u16, value: {value}, max_entries: 4, contents: present, entries: {{{total}}}, {migrate}}}
outer_maps:
  tenants: {{type: {tenants}, key: u32, max_entries: 8, inner: counts, inner_maps: {{{slots}}}}}
  vips: {{type: array_of_maps, key: u32, max_entries: {vips}, inner: wide, inner_maps: {{0: {{entries: {{1: 1}}}}}}}}
"""
NARROW: Final = HEAD + _SHAPES.format(
    value="{struct: {hits: u32}}",
    migrate="",
    total="1: {hits: 5}, 2: {hits: 6}",
    tenants="hash_of_maps",
    slots="1: {entries: {1: {hits: 1}, 2: {hits: 2}}}, 2: {entries: {3: {hits: 3}}}",
    vips=4,
)
WIDER: Final = HEAD + _SHAPES.format(  # the spec does not list entries that it listed before: they are carried over
    value="{struct: {hits: u64, zone: u32}}",
    migrate="migrate: auto",
    total="2: {hits: 7, zone: 1}",
    tenants="array_of_maps",
    slots="1: {entries: {2: {hits: 9, zone: 2}}}, 2: {}, 3: {}",
    vips=8,
)

_STAGED: Final = """
inner_templates:
  rules: {{type: hash, key: u32, value: u32, max_entries: 8, update: replace}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: 8, inner: rules, inner_maps: {{{slots}}}}}
"""
STAGED: Final = HEAD + _STAGED.format(slots="1: {entries: {1: 1, 2: 2}}, 2: {entries: {3: 3}}")
RESTAGED: Final = HEAD + _STAGED.format(slots="1: {entries: {1: 9}}, 2: {max_entries: 4, entries: {3: 3}}, 3: {}")
_QUOTAS: Final = """
inner_templates:
  quotas: {{type: hash, key: u32, value: {value}, max_entries: 8, on_replace: copy, {owned}}}
maps:
  total: {{type: array, key: u32, value: {value}, max_entries: 4, entries: {{{total}}}, {owned}}}
outer_maps:
  tenants: {{type: hash_of_maps, key: u32, max_entries: 8, inner: quotas, inner_maps: {{{slots}}}}}
"""
_QUOTA: Final = "{struct: {limit: u32, tokens: u64}}"
WHOLE: Final = HEAD + _QUOTAS.format(
    value=_QUOTA,
    owned="contents: exact",
    total="0: {limit: 1, tokens: 5}, 1: {limit: 2, tokens: 6}",
    slots="1: {entries: {1: {limit: 1, tokens: 7}, 2: {limit: 2, tokens: 8}}}, "
    "2: {entries: {1: {limit: 1, tokens: 9}}}",
)
MEMBERS: Final = HEAD + _QUOTAS.format(  # the tokens stay what they were; one inner map gets more room
    value=_QUOTA,
    owned="owned_members: [limit], set: {tokens: 100}",
    total="0: {limit: 3}, 3: {limit: 4}",
    slots="1: {entries: {1: {limit: 5}, 3: {limit: 6}}}, 2: {max_entries: 16, entries: {1: {limit: 7}}}",
)

_PINNED: Final = "pin_inner_maps: true\npin_mode: '0640'\npin_group: '65534'\n"
ONE_PINNED: Final = ONE.replace(HEAD, HEAD + _PINNED)
ONE_CLOSED: Final = ONE.replace(HEAD, HEAD + "pin_mode: '0600'\npin_group: '0'\n")
OTHER_PINNED: Final = OTHER.replace(HEAD, HEAD + _PINNED)

_MOVED: Final = """
pin_inner_maps: true
inner_templates:
  rules: {{type: hash, key: u32, value: u32, max_entries: 8}}
maps:
  {plain}: {{type: array, key: u32, value: u32, max_entries: 1, entries: {{0: 1}}}}
outer_maps:
  {outer}:
    type: hash_of_maps
    key: u32
    max_entries: 8
    inner: rules
    inner_maps: {{1: {{entries: {{1: 1, 2: 2}}}}, {slot}: {{entries: {{4: 4}}}}}}
moved:
- {{from: {old_root}, to: {new_root}}}
- {{from: {old_outer}, to: {outer}}}
- {{from: {old_plain}, to: {plain}}}
- {{from: "{outer}[{old_slot}]", to: "{outer}[{slot}]"}}
"""


def _moved(old: tuple[str, str, int, str], new: tuple[str, str, int, str]) -> str:
    """A spec that has names, a slot and the pin root moved: of an outer map, a plain map, a slot, a pin root."""
    names = ("outer", "plain", "slot", "root")
    words = dict(zip((*names, *(f"old_{name}" for name in names)), (*new, *old), strict=True))
    return HEAD + _MOVED.format(**words, new_root=words["root"])


_THERE: Final = ("tenants", "switch", 3, "OLD_ROOT")
_HERE: Final = ("customers", "toggle", 5, "NEW_ROOT")
BEFORE_MOVE: Final = _moved(_HERE, _THERE)
AFTER_MOVE: Final = _moved(_THERE, _HERE)

_ROUTER: Final = """
types:
  backend: {{struct: {{ip: ipv4, port: be16, weight: u16}}}}
inner_templates:
  acl: {{type: lpm_trie, key: cidr4, value: u8, max_entries: 1024}}
  backends: {{type: array, key: u32, value: backend, max_entries: 64, flags: [inner_map]}}
objects:
  router: {{file: {file}, programs: {{xdp_router: {{pin: xdp_router{attach}}}}}}}
maps:
  active: {{object: router, key: u32, value: u32, entries: {{0: 1}}, after: [tenants]}}
outer_maps:
  tenants: {{object: router, key: u32, inner: acl, inner_maps: {{1: {{entries: {{10.0.0.0/8: 0}}}}}}}}
  vips:
    object: router
    inner: backends
    inner_maps: {{0: {{entries: {{0: {{ip: 192.0.2.1, port: 1, weight: 1}}}}}}}}
"""


def router(file: Path, attach: str = "") -> str:
    """A spec of the router; `attach` is the mode of its attachment, empty for none."""
    text = f", attach: {{xdp: {{interface: {INTERFACE}, mode: {attach}}}}}" if attach else ""
    return HEAD + _ROUTER.format(file=file, attach=text)


_RESIZED: Final = """
inner_templates:
  inner: {{type: hash, key: u32, value: u32, max_entries: 8, contents: present, on_replace: copy}}
objects:
  presets: {{file: {file}, programs: {{look: {{attach: {{xdp: {{interface: veth-a, mode: generic}}}}}}}}}}
outer_maps:
  colours: {{object: presets, inner: inner, max_entries: {size}, inner_maps: {{{slots}}}}}
"""


def resized(compiled: Callable[[str], Path], version: str = "") -> str:
    """A spec whose outer map an object brings: the next version has more slots, and one inner map has more room.

    It does not list an entry that it listed before: the new inner map takes it over, again when programs use that map.
    """
    slots = "1: {entries: {1: 1, 2: 2}}, 3: {entries: {3: 3}}, 5: {entries: {5: 5}}"
    after = "1: {max_entries: 16, entries: {1: 9}}, 3: {entries: {3: 4}}, 7: {entries: {7: 7}}"
    fields = {"size": 16, "slots": after} if version else {"size": 8, "slots": slots}
    return HEAD + _RESIZED.format(file=compiled(f"presets{version}"), **fields)


_RELAID: Final = """
inner_templates:
  per_mark:
    type: hash
    key: u32
    value: {{btf: struct stats, from: traffic}}
    max_entries: 64
    contents: present
    migrate: auto
objects:
  traffic: {{file: {file}, programs: {{count: {{attach: {{tcx: {{interface: lo, direction: ingress}}}}}}}}}}
maps:
  totals:
    object: traffic
    key: u32
    value: {{btf: struct stats, from: traffic}}
    contents: present
    migrate: auto
    entries: {{{totals}}}
outer_maps:
  interfaces: {{object: traffic, inner: per_mark, max_entries: {size}, inner_maps: {{{slots}}}}}
"""


def relaid(compiled: Callable[[str], Path], version: str = "") -> str:
    """A spec whose maps an object brings: the next version has longer values, and more slots in its outer map."""
    totals, slots = "1: {packets: 5}, 2: {packets: 6}", "1: {entries: {1: {packets: 1}, 2: {packets: 2}}}, 2: {}"
    after = "1: {entries: {2: {packets: 9, bytes: 1}}}, 3: {entries: {1: {packets: 3, bytes: 1}}}"
    fields = {"size": 16, "slots": after, "totals": "2: {packets: 7, bytes: 1}"}
    before = {"size": 8, "slots": slots, "totals": totals}
    return HEAD + _RELAID.format(file=compiled(f"traffic{version}"), **(fields if version else before))


COUNTS: Final = "counts"
"""The map in which the programs of tests/bpf/hooks.bpf.c count."""

_ATTACHED: Final = """
objects:
  jumps:
    file: {jumps}
    programs: {{first: {{}}, second: {{}}, dispatch: {{attach: {{xdp: {{interface: veth-a, mode: generic}}}}}}}}
  hooks:
    file: {hooks}
    programs:
      on_tcx: {{attach: [{{tcx: {{interface: veth-{first}}}}}, {{tcx: {{interface: veth-b, direction: ingress}}}}]}}
      on_tcx_2: {{attach: {{tc: {{interface: veth-a, direction: {direction}}}}}}}
      on_uprobe: {{attach: auto}}
  globals:
    file: {globals}
    variables: {{verdict: 2, limits: {{burst: {burst}, rate: 9}}}}
    programs: {{globals: {{}}}}
"""


def attached(compiled: Callable[[str], Path], version: str = "", direction: str = "ingress", burst: int = 1) -> str:
    """A spec with prog_arrays, variables, and attachments by links and by a filter."""
    files = {name: compiled(f"{name}{version}") for name in ("jumps", "hooks")}
    fields = {"direction": direction, "burst": burst, "first": f"{'b' if version else 'a'}, direction: {direction}"}
    return HEAD + _ATTACHED.format(**files, globals=compiled("globals"), **fields)


NAMES: Final = (
    *("create", "change", "destroy", "load", "upgrade", "recreate", "mode", "detach", "unload"),
    *("pin", "pinned", "unpin", "pinned_away"),
    *("elsewhere", "staged", "migrate", "members", "moved", "resized", "attached"),
    *(("attach", "attached_away", "relaid") if FULL else ()),
)

BY_PROGRAMS: Final = frozenset({"staged"})
"""Scenarios in which programs do all that they can, however small it is."""

STRIDES: Final[Mapping[str, int]] = {
    "attached": 8,
    "resized": 11,
    "staged": 3,
    "members": 3,
    "pin": 3,
    "pinned": 3,
    "unpin": 3,
}
"""Of the sample of points of a scenario, CI has time for each third, or for fewer where there are many calls."""


def sampled(name: str, points: Iterable[tuple[int, int]], full: bool) -> list[tuple[int, int]]:
    """The points of a sweep: all in the long form, else those of the stride."""
    return list(points)[:: 1 if full else STRIDES.get(name, 1)]


def pairs(compiled: Callable[[str], Path]) -> dict[str, tuple[str | None, str | None]]:
    """What is live before, and what is applied over it, by the name of the scenario; None is nothing."""
    first = router(compiled("router"), "native")
    cases: dict[str, tuple[str | None, str | None]] = {
        "create": (None, ONE),
        "change": (ONE, OTHER),
        "destroy": (ONE, None),
        "load": (None, first),
        "upgrade": (first, router(compiled("router_v2"), "native")),
        "recreate": (first, router(compiled("router_wide"), "native")),
        "mode": (first, router(compiled("router"), "generic")),
        "detach": (first, router(compiled("router"))),
        "unload": (first, None),
        "pin": (ONE_CLOSED, ONE_PINNED),
        "pinned": (ONE_PINNED, OTHER_PINNED),
        "unpin": (OTHER_PINNED, ONE_CLOSED),
        "pinned_away": (ONE_PINNED, None),
        "elsewhere": (None, ELSEWHERE),
        "staged": (STAGED, RESTAGED),
        "migrate": (NARROW, WIDER),
        "members": (WHOLE, MEMBERS),
        "moved": (BEFORE_MOVE, AFTER_MOVE),
        "resized": (resized(compiled), resized(compiled, "_v2")),
        "attached": (attached(compiled), attached(compiled, "_v2", "egress", burst=5)),
        "attach": (None, attached(compiled)),
        "attached_away": (attached(compiled), None),
        "relaid": (relaid(compiled), relaid(compiled, "_wide")),
    }
    assert tuple(cases)[: len(NAMES)] == NAMES
    return cases


@dataclass(frozen=True, slots=True)
class Pin:
    """What is pinned under a name: kind (as the kernel abbreviates it) and id.

    `slots` are the ids of inner maps by outer key, `entries` all that can be listed, of the map or of its inner maps by
    outer key; `target` of a link its program's id and interface; `access` mode and group.
    """

    kind: str
    id: int
    slots: Mapping[bytes, int] | None = None
    entries: Mapping[bytes, Mapping[bytes, bytes]] | None = None
    target: tuple[int, int] = (0, 0)
    tag: str = ""
    access: tuple[int, int] = (0, 0)

    def without_ids(self, programs: Mapping[int, str]) -> Pin:
        """What is left when ids do not count: contents, and the instructions that run."""
        slots = None if self.slots is None else dict.fromkeys(self.slots, 0)
        program, ifindex = self.target
        tag = programs.get(program, "") if self.kind in ("link", "filter") else self.tag
        return replace(self, id=0, slots=slots, target=(0, ifindex), tag=tag)


@dataclass(frozen=True, slots=True)
class Live:
    """All that is pinned under a root, and what hangs on it."""

    pins: Mapping[str, Pin]

    @property
    def contents(self) -> Mapping[str, Pin]:
        """The same whoever made it: ids and the record apart."""
        programs = {pin.id: pin.tag for pin in self.pins.values() if pin.kind == "prog"}
        pins = {name: pin.without_ids(programs) for name, pin in self.pins.items() if name != META_PIN}
        return {self._without_id(name): pin for name, pin in pins.items()}

    @property
    def tidy(self) -> Mapping[str, Pin]:
        """The same without what the next apply sees to: temporary pins, and those of inner maps."""
        return {
            name: pin for name, pin in self.contents.items() if not name.startswith((*TEMPORARY_PREFIXES, INNER_PINS))
        }

    def _without_id(self, name: str) -> str:
        """The pin of an inner map, which is named by its id, by its outer key."""
        if not name.startswith(INNER_PINS):
            return name
        outer = self.pins[name.split("/")[1]].slots or {}
        return f"{INNER_PINS} {[key for key, number in outer.items() if number == self.pins[name].id]}"

    @property
    def named(self) -> frozenset[tuple[str, int]]:
        """Kind and id of all that a pin names, inner maps too."""
        inner = {("map", number) for pin in self.pins.values() for number in (pin.slots or {}).values()}
        return frozenset(inner | {(pin.kind.replace("filter", "map"), pin.id) for pin in self.pins.values()})


def look(root: Path) -> Live:
    """Read everything below `root`."""
    old = old_root(root)
    here = root if not old.exists() else old
    walked = (each for top in (here, elsewhere(root)) for each in os.walk(top))
    paths = (Path(folder, name) for folder, _, names in walked for name in names)
    pins = {os.path.relpath(path, here): _with_access(path) for path in sorted(paths)}
    return Live(pins if here is root else {"": Pin("pin root", 0, tag="old"), **pins})


def old_root(root: Path) -> Path:
    """The pin root that a project is moved from."""
    return root.with_name(f"{root.name}-old")


def elsewhere(root: Path) -> Path:
    """The directory of pins outside of the pin root."""
    return root.with_name(f"{root.name}-elsewhere")


def _with_access(path: Path) -> Pin:
    access = bpffs.access(path)
    return replace(_pin(path), access=(access.mode or 0, access.gid or 0))


def _pin(path: Path) -> Pin:
    with bpffs.open_any(path) as fd:
        match fd:
            case MapFd() if is_link(path.name):
                live = filter_pins.observe(fd, path)
                return Pin("filter", live.id, target=(live.program_id, live.target))
            case MapFd():
                return _map(fd, path.name)
            case ProgramFd():
                info = links.program_info(fd)
                return Pin("prog", info.id, tag=info.tag)
            case LinkFd():
                link = links.info(fd)
                return Pin("link", link.id, target=(link.prog_id, link.target))
            case _:
                raise AssertionError(f"{path} is of no kind that we know")


def _map(fd: MapFd, name: str) -> Pin:
    info = maps.info(fd)
    if not info.shape.is_outer:
        entries = _entries(fd)
        if name in (META_PIN, COUNTS):  # the plan reads back what the record has; packets of others may be counted
            return Pin("map", info.id, entries={})
        if info.shape.map_type is MapType.PROG_ARRAY:
            entries = {key: _tag(int.from_bytes(number, sys.byteorder)) for key, number in entries.items()}
        return Pin("map", info.id, entries={b"": entries})
    keys, ids = reading.read_slots(fd, info.shape)
    slots = {key.tobytes(): int(number) for key, number in zip(keys, ids, strict=True)}
    contents = {}
    for key, number in slots.items():
        contents[key] = entries_of(InnerId(number))
    return Pin("map", info.id, slots, contents)


def _tag(number: int) -> bytes:
    """The tag of a program, by its id."""
    with links.open_program_id(number) as program:
        return links.program_info(program).tag.encode()


def entries_of(number: InnerId) -> dict[bytes, bytes]:
    """What the map with this id holds."""
    with maps.open_id(number) as fd:
        return _entries(fd)


def _entries(fd: MapFd) -> dict[bytes, bytes]:
    keys, values = reading.read_entries(fd, maps.info(fd).shape, host.read_host().possible_cpus)
    return {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}


def comparable(live: Live) -> Mapping[str, Pin]:
    """All ids counted, but those of a link, which is attached again, and of records, which are written again."""
    return {
        name: replace(pin, id=0) if name == META_PIN or pin.kind in ("link", "filter") else pin
        for name, pin in live.pins.items()
    }


@dataclass(frozen=True, slots=True)
class Scenario:
    """`after` is applied where `before` is live (None: nothing), or, if it is None, what is live is destroyed."""

    name: str
    folder: Path
    root: Path
    before: str | None
    after: str | None

    @property
    def verb(self) -> str:
        return "destroy" if self.after is None else "apply"

    def words(self) -> tuple[str | Path, ...]:
        """The command line of what is swept."""
        text = self.after if self.after is not None else self.before
        assert text is not None
        options = ("--yes", "--allow-outside", "--force", "--format", "json", "--pin-root", self.root)
        return (self.verb, self.file(text), *options)

    def file(self, text: str) -> Path:
        """The spec with this text; named after whether it is the first or the second, so that each is written once."""
        path = self.folder / ("after.yaml" if text == self.after else "before.yaml")
        if not path.exists() or path.read_text() != text:
            text = text.replace("ELSEWHERE", str(elsewhere(self.root)))
            path.write_text(text.replace("OLD_ROOT", str(old_root(self.root))).replace("NEW_ROOT", str(self.root)))
        return path

    def project(self, text: str) -> Project:
        """Loaded once for each text: a project is a value, and a sweep applies the same two hundreds of times."""
        return _loaded(self.file(text), text, old_root(self.root) if "to: OLD_ROOT" in text else self.root)

    def begin(self) -> Live:
        """Make `before` live, from whatever is live."""
        return self._make(self.before)

    def finish(self) -> Live:
        """Do what was swept again, unhurt: it must converge, and then have nothing left to do."""
        live = self._make(self.after)
        if self.after is not None:
            steps = self.project(self.after).plan(ALL).steps
            assert steps == (), f"a second apply would {[step.describe() for step in steps]}"
        return live

    def clear(self) -> Live:
        """Destroy what is live, with the entries that no spec lists."""
        named = self.after or self.before
        assert named is not None
        self.project(named).destroy(ALL, Options(rollback=False))
        assert not self.root.exists()
        assert not elsewhere(self.root).exists()
        return Live({})

    def _make(self, text: str | None) -> Live:
        if text is None:
            return self.clear()
        self.project(text).apply(ALL)
        return look(self.root)


@lru_cache(maxsize=4)
def _loaded(file: Path, text: str, root: Path) -> Project:  # noqa: ARG001 (the text is part of the key)
    return load([file], pin_root=str(root), allow_outside=True)


def leftovers(ran: Ran, live: Live) -> list[str]:
    """What a run made in the kernel and no pin names, once the kernel had time to free it."""
    deadline = time.monotonic() + ledger.PATIENCE
    while (left := sorted(ran.made & _alive(ran.made) - live.named)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [f"{kind} id {number}" for kind, number in left]


def _alive(made: frozenset[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    """Those that the kernel still knows."""
    known = {"prog": set(links.program_ids()), "link": set(links.link_ids())}
    return frozenset(
        (kind, number) for kind, number in made if (_map_lives(number) if kind == "map" else number in known[kind])
    )


def _map_lives(number: int) -> bool:
    """Whether an id is in use, without opening the map: with a prog_array, that can keep it for ever.

    The last fd of a prog_array that is closed while the kernel still clears it for an earlier one takes a reference
    that is never given back (prog_array_map_clear).
    """
    return recorder.exists("map", number)
