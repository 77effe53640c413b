"""Features and bugs of kernel versions, with sources, and their effects on a spec. Pure.

For advice only: `validate --kernel` uses it offline, for another kernel; `doctor` looks up bugs that no probe can test.
Operations on a live kernel are tried, and the errno decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import msgspec

from provisioner.model.attachment import Attachment
from provisioner.model.desired import DesiredMap, DesiredState, Owner
from provisioner.model.errors import InputError, Problem, Problems
from provisioner.model.grace_periods import Batches
from provisioner.model.spec import OnReplace
from provisioner.model.special_fields import SPIN_LOCK
from provisioner.model.types import shown
from provisioner.model.uapi import MapFlag, MapType

Version = tuple[int, int, int]


class Effect(Enum):
    """The kind of advice for a spec that a kernel accepts: `slow`, or `note` for the administrator."""

    SLOW = "slow"
    NOTE = "note"


class KernelFeature(msgspec.Struct, frozen=True):
    """A feature that kernels before `since` do not have. `source` is a commit or an experiment."""

    since: Version
    source: str


class Advice(msgspec.Struct, frozen=True):
    """The effect of a kernel on a part of a spec; `address` is empty for the whole spec."""

    effect: Effect
    address: str
    message: str
    source: str


class Bug(msgspec.Struct, frozen=True):
    """A kernel bug that affects maps of maps: `fixed` has the first patch release without it for each stable series."""

    id: str
    what: str
    follows: str
    fixed: Mapping[tuple[int, int], int]
    mainline: tuple[int, int]
    source: str

    def is_in(self, version: Version) -> bool:
        """Whether a release has the bug. A series without a fix has it until the mainline fix."""
        line, patch = version[:2], version[2]
        return patch < self.fixed[line] if line in self.fixed else line < self.mainline


OLDEST: Final[Version] = (5, 10, 0)
"""The oldest kernel in the tests."""

TYPES: Final[Mapping[MapType, KernelFeature]] = MappingProxyType(
    {
        MapType.BLOOM_FILTER: KernelFeature((5, 16, 0), "9330986c0300"),
        MapType.USER_RINGBUF: KernelFeature((6, 1, 0), "583c1f420173"),
        MapType.CGRP_STORAGE: KernelFeature((6, 2, 0), "c4bcfb38a95e"),
        MapType.ARENA: KernelFeature((6, 9, 0), "317460317a02"),
    }
)
"""Map types that are newer than `OLDEST`."""

BATCH: Final[Mapping[MapType, KernelFeature]] = MappingProxyType(
    {
        MapType.PERCPU_ARRAY: KernelFeature((5, 13, 0), "f008d732ab18"),
        MapType.LPM_TRIE: KernelFeature((5, 13, 0), "f56387c534cc"),
        MapType.ARRAY_OF_MAPS: KernelFeature((5, 19, 0), "9263dddc7b6f"),
        MapType.HASH_OF_MAPS: KernelFeature((5, 19, 0), "9263dddc7b6f"),
    }
)
"""Types whose batch system calls are newer than `OLDEST`: tried on 5.10, which has none, and 6.1, which has all."""

SPECIALS: Final[Mapping[str, KernelFeature]] = MappingProxyType(
    {
        "bpf_timer": KernelFeature((5, 15, 0), "68134668c17f"),
        "kptr": KernelFeature((5, 19, 0), "61df10c7799e"),
        "kptr_untrusted": KernelFeature((6, 4, 0), "03b77e17aeb2"),
        "bpf_wq": KernelFeature((6, 10, 0), "d56b63cf0c0f"),
        "bpf_res_spin_lock": KernelFeature((6, 15, 0), "0de2046137f9"),
    }
)
"""Special fields in values that are newer than `OLDEST`; older kernels treat them as data."""

INNER_LOCKS: Final = KernelFeature((6, 2, 0), "b7ff97925b55")
"""A bpf_spin_lock in the values of inner maps; in other maps it is older than `OLDEST`."""

INNER_CAPACITY: Final = KernelFeature((5, 10, 0), "134fede4eecf")
INNER_ARRAYS: Final = KernelFeature((5, 10, 0), "4a8f87e60f6d")
SYSCALL_PROGRAMS: Final = KernelFeature((5, 14, 0), "79a7f8bdb159")
"""Programs that a process runs itself: they carry over what others write during a copy, and compute digests."""

PERCPU_LOOKUP: Final = KernelFeature((5, 19, 0), "07343110b293")
"""Programs can look up the value of any CPU."""

SYSCALL_LOCKS: Final = KernelFeature((6, 6, 0), "5861d1e8dbc4")
"""Programs of this type can take a bpf_spin_lock."""

ONE_WAIT: Final = KernelFeature((6, 8, 0), "37ba5b59d6ad")
EXPEDITED: Final = KernelFeature((6, 19, 0), "ff34657aa72a")
MEMCG: Final = KernelFeature((5, 11, 0), "memory cgroups replaced RLIMIT_MEMLOCK; tried on 5.10 and 6.1")
CAP_BPF: Final = KernelFeature((5, 8, 0), "2c78ee898d8f")

BUGS: Final = (
    Bug(
        "CVE-2023-52447",
        "a program can read an inner map that is freed when its slot is replaced or emptied",
        "update the kernel before you change slots under traffic; `update: in_place` changes no slot",
        MappingProxyType({(5, 10): 214, (5, 15): 153, (6, 1): 75, (6, 6): 14, (6, 7): 2}),
        (6, 8),
        "876673364161",
    ),
    Bug(
        "hash_of_maps-leak",
        "replacing an inner map of a hash_of_maps leaks the old one",
        "use array_of_maps, or update the kernel",
        MappingProxyType({}),
        (5, 9),
        "1d4e1eab456e",
    ),
)


def parse(text: str) -> Version:
    """The version of `5.10`, `6.1.75`, `6.1.0-56-cloud-amd64`. Raises InputError for other texts."""
    match = re.match(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?(?![0-9])", text)
    if match is None:
        what, hint = f"{shown(text)} is not a kernel version", "write a version such as 5.10 or 6.1.75"
        raise InputError(Problem(what, hint=hint, id="invalid-version"))
    return int(match[1]), int(match[2]), int(match[3] or 0)


def upstream(release: str, build: str, signature: str = "") -> Version:
    """The upstream release of a running kernel, which distributions do not show in `uname -r`.

    `build` is from `uname -v` (`... Debian 6.1.192-2 ...`), `signature` from /proc/version_signature of Ubuntu.
    """
    debian = re.search(r"Debian (\d+\.\d+\.\d+)", build)
    if debian:
        return parse(debian[1])
    words = signature.split()
    return parse(words[-1] if len(words) == 3 else release)


def batches_of(release: str) -> Batches:
    """The cost of batches of slots by the `uname -r` of a kernel: for an estimate only, because apply tries it."""
    try:
        version = parse(release)
    except InputError:
        return Batches.CHEAP
    if version < BATCH[MapType.HASH_OF_MAPS].since:
        return Batches.NONE
    return Batches.DEAR if version < ONE_WAIT.since else Batches.CHEAP


def bugs_of(version: Version) -> tuple[Bug, ...]:
    """The bugs of a release, unless its distribution has fixed them."""
    return tuple(bug for bug in BUGS if bug.is_in(version))


def advise(desired: DesiredState, version: Version) -> tuple[Advice, ...]:
    """The advice for a spec on a kernel, by address. Raises InputError with everything that the kernel refuses."""
    problems = Problems()
    for desired_map in desired.maps.values():
        problems.extend(_refused(desired_map, version))
    for desired_object in desired.objects.values():
        for owner in desired_object.owners:
            declared = {attachment.where: attachment for attachment in reversed(owner.attachments)}
            for attachment in reversed(declared.values()):  # once for all CPUs of an event
                problems.extend(_unattachable(owner, attachment, version))
    problems.raise_if_any()
    return (
        *(advice for desired_map in desired.maps.values() for advice in _of_map(desired_map, version)),
        *_notes(desired, version),
    )


def _unattachable(owner: Owner, attach: Attachment, version: Version) -> Iterator[Problem]:
    since = KernelFeature(*attach.first_release())
    if version < since.since:
        what = f"Linux {_text(version)} has no pinned link for {attach.describe()}"
        hint = "; ".join(filter(None, (_since(since), attach.instead)))
        yield Problem(what, attach.where, hint, owner.name, "attach-unsupported")


def _refused(desired: DesiredMap, version: Version) -> Iterator[Problem]:
    for shape in dict.fromkeys((desired.shape, desired.entry_shape)):
        word = shape.map_type.word
        young = TYPES.get(shape.map_type)
        if young is not None and version < young.since:
            what = f"Linux {_text(version)} does not have the map type {word}"
            yield Problem(what, desired.where, _since(young), desired.name, "kernel-too-old")
        if shape.map_flags & MapFlag.INNER_MAP and version < INNER_ARRAYS.since:
            what = f"Linux {_text(version)} does not have the flag inner_map"
            yield Problem(what, desired.where, _since(INNER_ARRAYS), desired.name, "kernel-too-old")
    for kind in dict.fromkeys(special.kind for special in desired.entry_shape.specials or ()):
        field = INNER_LOCKS if kind == SPIN_LOCK and desired.outer is not None else SPECIALS.get(kind.split()[0])
        if field is not None and version < field.since:
            where = "the values of inner maps" if field is INNER_LOCKS else "values"
            what = f"Linux {_text(version)} does not support {kind} in {where}"
            yield Problem(what, desired.where, _since(field), desired.name, "kernel-too-old")
    other = int((desired.slots.max_entries != desired.entry_shape.max_entries).sum())
    if desired.outer is not None and other and version < INNER_CAPACITY.since:
        what = f"Linux {_text(version)} needs the max_entries of the template in all inner maps, and {other:,} differ"
        yield Problem(what, desired.where, _since(INNER_CAPACITY), desired.name, "kernel-too-old")


def _of_map(desired: DesiredMap, version: Version) -> Iterator[Advice]:
    entries = BATCH.get(desired.entry_shape.map_type)
    if entries is not None and version < entries.since and int(desired.entries.counts.sum()):
        what = f"{desired.entry_shape.map_type.word} has no batch operations: entries are written and read one by one"
        yield Advice(Effect.SLOW, desired.name, what, entries.source)
    if desired.on_replace is OnReplace.COPY and version < SYSCALL_PROGRAMS.since:
        what = (
            "what programs write during a copy is carried over by system calls: a write at the same moment can be lost"
        )
        yield Advice(Effect.NOTE, desired.name, what, SYSCALL_PROGRAMS.source)
    shape = desired.entry_shape
    needed = SYSCALL_LOCKS if shape.is_locked else PERCPU_LOOKUP if shape.is_percpu else SYSCALL_PROGRAMS
    if desired.value.owns_part and version < needed.since:
        what = "owned members are written by system calls: what others write to an entry at the same moment is lost"
        yield Advice(Effect.NOTE, desired.name, what, needed.source)
    slots = len(desired.slots.keys)
    if desired.outer is None or slots < 2:
        return
    outer, threads = BATCH[desired.shape.map_type], "slots are written one by one from many threads"
    if version < outer.since:
        what = f"{desired.shape.map_type.word} has no batch operations for {slots:,} slots: {threads}"
        yield Advice(Effect.SLOW, desired.name, what, outer.source)
    elif version < ONE_WAIT.since:
        what = f"a batch waits for a grace period for each of {slots:,} slots: if there are many, {threads}"
        yield Advice(Effect.SLOW, desired.name, what, ONE_WAIT.source)


def _notes(desired: DesiredState, version: Version) -> Iterator[Advice]:
    if version < OLDEST:
        yield Advice(Effect.NOTE, "", "kernels before 5.10 are not tested", "this project's tests")
    if version < CAP_BPF.since:
        yield Advice(Effect.NOTE, "", "CAP_BPF does not exist: every operation needs CAP_SYS_ADMIN", CAP_BPF.source)
    if version < MEMCG.since:
        words = "maps are charged to RLIMIT_MEMLOCK, which only root can raise: `ulimit -l unlimited`"
        yield Advice(Effect.NOTE, "", words, MEMCG.source)
    if any(desired_map.outer is not None for desired_map in desired.maps.values()):
        yield from (Advice(Effect.NOTE, "", f"{bug.id}: {bug.what}", bug.source) for bug in bugs_of(version))


def _since(fact: KernelFeature) -> str:
    return f"it is new in {_text(fact.since)} ({fact.source})"


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
