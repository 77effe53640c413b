"""A map that a session edits in place: its entries are looked up, written, verified and taken back.

A program does it in the kernel where that takes less time, system calls elsewhere.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.bytecode.lookup_program import LookupRecord
from provisioner.bytecode.stage_program import can_fill
from provisioner.kernel import batch, bpffs, lookups, maps, programs
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.lookup_programs import LookupProgram
from provisioner.kernel.members import MemberWriter
from provisioner.kernel.reasons import KernelError
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.types import Bytes
from provisioner.planning import fingerprint
from provisioner.session.entry_edits import Compared, Fingerprints, Wanted, compared, is_live, wanted
from provisioner.session.known import KnownMap, SlotKey
from provisioner.session.touched import UnknownStateError

_FEWEST_KEYS: Final = 24
"""Keys of an apply for which a program is loaded: fewer are looked up and written one by one, with no program there."""

_MANY_APPLIES: Final = 64
"""Applies after which a program is loaded for a map, however few keys each has: it takes the time of about as many."""

_OPEN_MAPS: Final = 16
"""Inner maps that stay open during an apply."""

_MEMBER_MAPS: Final = 16
"""Maps in which a program each writes members: for more, one program for all maps takes less time, as a plan has it."""


class Done(msgspec.Struct, frozen=True):
    """What was done to one map: the ids of its slots, and how many entries each has now."""

    known: KnownMap
    ids: dict[SlotKey, int]
    counts: dict[SlotKey, int]
    is_changed: bool


class EditedMap:
    """One map: what is the same for all applies."""

    def __init__(self, known: KnownMap, path: Path) -> None:
        assert known.live is not None
        self.known, self.path, self.live = known, path, known.live
        desired = known.desired
        self.is_outer = desired.outer is not None
        mask = desired.value.owned.mask()
        self.mask = None if (mask == 0xFF).all() else mask
        self.fingerprints = Fingerprints(known, known.live)
        self.pin = (0, 0)
        """The file that was found to be the pin of this very map."""
        self._program: LookupProgram | None = None
        self._has_tried = False
        self._applies = 0

    def program(self, open_: Callable[[], MapFd], keys: int) -> LookupProgram | None:
        """The program for an apply of so many keys; None where it does not pay, or is not possible."""
        self._applies += 1
        if self._has_tried or not programs.is_worth_it(keys, 0 if self._applies >= _MANY_APPLIES else _FEWEST_KEYS):
            return self._program
        self._has_tried = True
        shape = self.known.desired.entry_shape
        record = LookupRecord(self.known.desired.slots.keys.shape[1], shape.key_size, shape.value_size)
        self._program = LookupProgram.load(open_(), record, writes=can_fill(shape))
        return self._program

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None:
            self._program.close()


class OpenMap:
    """A map during one apply. Raises KernelError where it is not what the session left.

    It is opened by its pin, unless a program holds it and the pin is the same file as before.
    """

    def __init__(self, edited: EditedMap) -> None:
        self._map = edited
        self._inner: dict[int, MapFd] = {}
        self._ids: list[int] = []
        self._before: Bytes = np.zeros((0, 0), np.uint8)
        self._written = np.zeros(0, np.bool_)
        self._program: LookupProgram | None = None
        self._slots: Bytes = np.zeros((0, 0), np.uint8)
        self._fd: MapFd | None = None
        self._pin = bpffs.file_id(edited.path)
        if self._pin != edited.pin:
            self._opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            self._fd.close()
        for fd in self._inner.values():
            fd.close()

    def _opened(self) -> MapFd:
        if self._fd is None:
            fd = maps.open_pin(self._map.path, readonly=self._map.is_outer)
            if maps.id_of(fd) != self._map.live.id:
                fd.close()
                raise UnknownStateError
            self._fd = fd
        return self._fd

    def look(self, shared: frozenset[int]) -> Compared | None:
        """What is pending, compared with what is live; None where it is not of this kind.

        Raises UnknownStateError where a slot has another inner map than the session left in it.
        """
        known = self._map.known
        asked = wanted(known, shared)
        if asked is None:
            return None
        keys = max(len(asked.keys), _FEWEST_KEYS if asked.whole else 0)
        self._program = self._map.program(self._opened, keys)
        if self._program is not None:
            self._slots = _rows(asked.slots)[asked.slot]
        ids, self._before, there = self._seen(asked)
        if self._map.is_outer and ids != [known.ids[slot] for slot in asked.slots]:
            raise UnknownStateError
        self._ids = ids
        return compared(asked, self._ours(self._before), there) if self._has_no_others(asked, there) else None

    def _ours(self, values: Bytes) -> Bytes:
        """Live values as they are compared, with padding made zero."""
        return values if self._map.mask is None else values & self._map.mask

    def _seen(self, asked: Wanted) -> tuple[list[int], Bytes, NDArray[np.bool_]]:
        """The ids of the maps in the slots, and the values of the keys."""
        if self._program is not None:
            seen = self._program.look_up(self._slots, asked.keys)
            ids = [
                int(seen.ids[start]) if start < end else self._id_of(slot)  # a slot that is set to be empty has no keys
                for slot, (start, end) in zip(asked.slots, asked.ends, strict=True)
            ]
            values, there = seen.values, seen.there
        else:
            ids = list(map(self._id_of, asked.slots))
            columns = [self._values(number, asked, *rows) for number, rows in zip(ids, asked.ends, strict=True)]
            values, there = columns[0] if len(columns) == 1 else map(np.concatenate, zip(*columns, strict=True))
        return ids, values, there

    def _has_no_others(self, asked: Wanted, there: NDArray[np.bool_]) -> bool:
        """Whether the slots that are set as a whole have no entries but those `there`; False where none can count."""
        if not asked.whole:
            return True
        if self._program is None:
            return False
        counts = self._program.count(_rows([asked.slots[number] for number in asked.whole]))
        present = np.bincount(asked.slot[there], minlength=len(asked.slots))
        return np.array_equal(counts, present[asked.whole])

    def _id_of(self, slot: SlotKey) -> int:
        """The id of the map in a slot, or of the plain map."""
        if not self._map.is_outer:
            return self._map.live.id
        return int.from_bytes(maps.lookup(self._opened(), slot, 4) or b"", sys.byteorder)

    def _values(self, number: int, asked: Wanted, start: int, end: int) -> tuple[Bytes, NDArray[np.bool_]]:
        shape = self._map.known.desired.entry_shape
        if not number:
            raise UnknownStateError
        with self._open(number) as inner:
            if end - start != 1:
                return lookups.look_up(inner, shape, asked.keys[start:end], 1)
            value = maps.lookup(inner, asked.keys[start].tobytes(), shape.value_size)
        if value is None:
            return np.zeros((1, shape.value_size), np.uint8), np.zeros(1, np.bool_)
        return np.frombuffer(value, np.uint8)[np.newaxis], np.ones(1, np.bool_)

    def _open(self, number: int) -> AbstractContextManager[MapFd]:
        """The inner map with an id, or the plain map: some stay open until the end, others until they were used."""
        if not self._map.is_outer:
            return nullcontext(self._opened())
        kept = self._inner.get(number)
        if kept is not None:
            return nullcontext(kept)
        fd = maps.open_id(InnerId(number))
        if len(self._inner) >= _OPEN_MAPS:
            return fd
        self._inner[number] = fd
        return nullcontext(fd)

    def write(self, part: Compared, undos: list[Callable[[], None]]) -> None:
        """Write what differs, slot by slot; `undos` gets how it is taken back, before it is written."""
        asked, self._written = part.wanted, part.changed
        if self._program is not None and self._program.writes and not self._map.known.desired.value.owns_part:
            self._write_by_program(part, undos, self._program)
            return
        puts, gone = asked.chosen(part.inserted | part.updated), asked.chosen(part.removed)
        for number, rows, put, removed in zip(self._ids, asked.ends, puts, gone, strict=True):
            if put is None and removed is None:
                continue
            undos.append(partial(self._write_back, number, part, slice(*rows)))
            with self._open(number) as inner:
                if put is not None:
                    self._put(inner, *put)
                if removed is not None:
                    self._delete(inner, removed[0])

    def _write_by_program(self, part: Compared, undos: list[Callable[[], None]], program: LookupProgram) -> None:
        asked, count = part.wanted, entry_table.how_many(part.changed)
        if not count:
            return
        # all of them are not copied
        rows: Index | slice = slice(None) if count == len(part.changed) else np.flatnonzero(part.changed)
        numbers = asked.slot[rows]
        touched = [count] if len(self._ids) == 1 else np.bincount(numbers, minlength=len(self._ids)).tolist()
        for number, ends, some in zip(self._ids, asked.ends, touched, strict=True):
            if some:
                undos.append(partial(self._write_back, number, part, slice(*ends)))
        ids = np.array(self._ids, np.uint32)[numbers]
        values, deleted = asked.values[rows], part.removed[rows]
        if self._map.known.desired.entry_shape.deletes_by_zero:
            values, deleted = np.where(deleted[:, np.newaxis], np.uint8(0), values), np.zeros(count, np.bool_)
        try:
            program.write(self._slots[rows], ids, asked.keys[rows], values, deleted)
        except batch.BatchError as error:
            self._written = np.zeros(len(part.changed), np.bool_)
            self._written[rows] = error.written
            raise

    def leaves_others(self, part: Compared) -> bool:
        """Whether entries are made or deleted of which others own members, or too many maps are written: for a plan."""
        if not self._map.known.desired.value.owns_part:
            return False
        return bool((part.inserted | part.removed).any()) or len(self._ids) > _MEMBER_MAPS

    def _put(self, fd: MapFd, keys: Bytes, values: Bytes) -> None:
        desired = self._map.known.desired
        if desired.value.owns_part:
            self._put_members(fd, keys, values, desired)
        elif len(keys) == 1:
            maps.update(fd, keys.tobytes(), values.tobytes())
        elif len(keys):
            batch.write_batch(fd, keys, values)

    @staticmethod
    def _put_members(fd: MapFd, keys: Bytes, values: Bytes, desired: DesiredMap) -> None:
        """Write our members by a program. Raises KernelError where there is none: a plan says what that means."""
        if not len(keys):
            return
        with MemberWriter([fd], desired.entry_shape, desired.value.owned.mask(), len(keys)) as writer:
            writer.load()
            if not writer.runs_in_kernel:
                raise KernelError("BPF_PROG_LOAD", errno.ENOTSUP)
            writer.write(0, keys, values)

    def _delete(self, fd: MapFd, keys: Bytes) -> None:
        if self._map.known.desired.entry_shape.deletes_by_zero:
            self._put(fd, keys, np.zeros((len(keys), self._map.known.desired.value.size), np.uint8))
        else:
            batch.delete_batch(fd, keys)

    def _write_back(self, number: int, part: Compared, rows: slice) -> None:
        written = self._written[rows]
        inserted, others = part.inserted[rows] & written, (part.updated | part.removed)[rows] & written
        if self._map.known.desired.entry_shape.deletes_by_zero:  # an element has padding before it is written
            inserted, others = inserted & False, written
        try:
            with self._open(number) as inner:
                self._put(inner, part.wanted.keys[rows][others], self._before[rows][others])
                if inserted.any():
                    self._delete(inner, part.wanted.keys[rows][inserted])
        except KernelError as error:
            if error.errno != errno.ENOENT:  # a map that is gone has nothing to take back
                raise

    def verify(self, part: Compared) -> bool:
        """Whether all of it is live, in the same maps at the same pin."""
        ids, values, there = self._seen(part.wanted)
        if ids != self._ids or bpffs.file_id(self._map.path) != self._pin:
            return False
        self._map.pin = self._pin
        return is_live(part.wanted, self._ours(values), there) and self._has_no_others(part.wanted, there)

    def done(self, part: Compared) -> Done:
        ids = dict(zip(part.wanted.slots, self._ids, strict=True))
        return Done(part.wanted.known, ids, part.counts_after(), entry_table.how_many(part.changed) > 0)

    def fingerprint(self, part: Compared) -> fingerprint.Part:
        return self._map.fingerprints.of(part, self._ids)


def _rows(slots: Sequence[SlotKey]) -> Bytes:
    return np.frombuffer(b"".join(slots), np.uint8).reshape(len(slots), -1)
