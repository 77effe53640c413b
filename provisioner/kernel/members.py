"""Some members of entries, written into live maps that programs write too: by a program, else by system calls.

By system calls, what another writer writes to the entry between the lookup and the write after it is lost, with or
without a lock: BPF_F_LOCK makes each of the two calls atomic, and not both together.
"""

from __future__ import annotations

import errno
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import numpy as np

from provisioner.bytecode.member_program import Layout, member_program, why_not
from provisioner.codec.lpm import masked, prefix_length
from provisioner.kernel import lookups, maps, programs, reading
from provisioner.kernel.fd import MapFd
from provisioner.kernel.reasons import UPDATE, KernelError
from provisioner.kernel.records import RecordRuns, room_for
from provisioner.kernel.rows import ByteTable
from provisioner.model import entry_table
from provisioner.model.map_shape import MapShape
from provisioner.model.types import Bytes
from provisioner.model.uapi import MapType, UpdateFlag

_TRIES: Final = 1000
"""How often an entry is tried again that another writer makes or deletes at that moment."""


class MemberWriter:
    """Writes members of the entries of one live map; a context manager, which holds the program.

    `owned`, shape (value size,), is the mask of the members; `most` is how many entries there are at most.
    """

    def __init__(self, target: MapFd, shape: MapShape, owned: Bytes, most: int) -> None:
        self._target = target
        self._shape = shape
        self._owned = owned
        self._layout = Layout(shape.key_size, shape.value_size)
        self._room = room_for(most, self._layout.size)
        self._opened = ExitStack()
        self._runs: RecordRuns | None = None

    @property
    def runs_in_kernel(self) -> bool:
        return self._runs is not None

    def __enter__(self) -> Self:
        return self  # nothing is open yet: what fails in here or on its way out would have no owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def load(self) -> None:
        """Load the program, if this kernel and process take it; without it, all is done by system calls."""
        if why_not(self._shape, self._owned):
            return
        with ExitStack() as opened:
            shape = MapShape(MapType.ARRAY, 4, self._layout.size, self._room)
            records = opened.enter_context(maps.create(shape, "members"))
            code = member_program(self._layout, self._shape, self._owned, records.number, self._target.number)
            program = programs.load(code, "members")
            if program is None:
                return
            opened.enter_context(program)
            self._runs = RecordRuns(program, records, self._layout.size, self._room, "members")
            self._opened = opened.pop_all()

    def write(self, keys: ByteTable, values: ByteTable) -> None:
        """Write our members of entries, (n, key size) and (n, value size); one that is missing is made of its value.

        Raises KernelError where the map does not take one.
        """
        if self._runs is None:
            self._by_calls(keys, values)
            return
        layout = self._layout
        records = np.zeros((len(keys), layout.size), np.uint8)
        records[:, 0] = 1
        records[:, layout.key : layout.key + layout.key_size] = keys
        records[:, layout.value : layout.value + layout.value_size] = values
        self._runs.run(records)

    def _by_calls(self, keys: ByteTable, values: ByteTable) -> None:
        """A lookup of each entry, and a write of the whole value."""
        held = held_by_trie(self._target, self._shape, keys) if self._shape.map_type is MapType.LPM_TRIE else None
        for row in range(len(keys)):
            self._by_call(keys[row : row + 1], values[row], held)

    def _by_call(self, key: ByteTable, value: Bytes, held: dict[bytes, bytes] | None) -> None:
        data = key.tobytes()
        locked = UpdateFlag.LOCK if self._shape.is_locked else UpdateFlag.ANY
        for _ in range(_TRIES):
            now = held.pop(data, None) if held is not None else self._now(key)
            try:
                if now is None:
                    maps.update(self._target, data, value.tobytes(), UpdateFlag.NOEXIST)
                else:
                    whole = (np.frombuffer(now, np.uint8) & ~self._owned) | (value & self._owned)
                    maps.update(self._target, data, whole.tobytes(), UpdateFlag.EXIST | locked)
            except KernelError as error:
                if error.errno != (errno.EEXIST if now is None else errno.ENOENT):
                    raise
            else:
                return
        raise KernelError(UPDATE, errno.EAGAIN)

    def _now(self, key: ByteTable) -> bytes | None:
        values, there = lookups.look_up(self._target, self._shape, key, 1)
        return values[0, : self._shape.value_size].tobytes() if there[0] else None


def held_by_trie(fd: MapFd, shape: MapShape, keys: ByteTable) -> dict[bytes, bytes]:
    """The values of those of `keys` that a trie has. A lookup would find a shorter prefix, so all of it is read."""
    live, values = reading.read_entries(fd, shape, 1)
    pairs = entry_table.match_keys(keys, masked(live, prefix_length(sys.byteorder)))
    rows = zip(pairs.both_left.tolist(), pairs.both_right.tolist(), strict=True)
    return {keys[left].tobytes(): values[right, : shape.value_size].tobytes() for left, right in rows}
