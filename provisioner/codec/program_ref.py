"""The values of a prog_array: programs of the project, by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from provisioner.codec.scalar import ScalarType
from provisioner.model.errors import did_you_mean
from provisioner.model.types import ByteOrder, Bytes, InvalidTextError, Value, shown

_LAST: Final = (1 << 32) - 1


class ProgramRef(ScalarType, frozen=True):
    """A prog_array is read as ids of programs and written as fds, and a program has neither before it is loaded.

    So a name is encoded as a number that no id reaches: `names[i]` as 2^32 - 1 - i. `ids` has the names of programs
    that are live, by id: `bound` to them, a live program is encoded as its id.
    """

    byteorder: ByteOrder
    names: tuple[str, ...]
    ids: Mapping[int, str] = {}

    @property
    def size(self) -> int:
        return 4

    def parse_one(self, text: str) -> bytes:
        if text not in self.names:
            hint = did_you_mean(text, self.names, "list the program under `programs:` of its object")
            raise InvalidTextError(f"{shown(text)} is not a program of this project", hint, id="unknown-program")
        return (_LAST - self.names.index(text)).to_bytes(4, self.byteorder)

    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        try:
            data = b"".join(map(self.parse_one, texts))
        except InvalidTextError:
            return None
        return np.frombuffer(data, np.uint8).reshape(len(texts), 4)

    def decode(self, rows: Bytes) -> list[Value]:
        numbers = np.ascontiguousarray(rows).view(self._number).ravel().tolist()
        return [self.name_of(number) or f"program {number}" for number in numbers]

    def name_of(self, number: int) -> str | None:
        """The program behind a value; None for one that is not of this project."""
        at = _LAST - number
        return self.names[at] if at < len(self.names) else self.ids.get(number)

    def bound(self, ids: Mapping[int, str]) -> ProgramRef:
        """The same type, with the ids of live programs."""
        return ProgramRef(self.byteorder, self.names, ids)

    def bind(self, rows: Bytes) -> Bytes:
        """Values of this type, shape (n, 4), with the id in the place of the name of each program that is live."""
        numbers = np.ascontiguousarray(rows).view(self._number).copy()
        for number, name in self.ids.items():
            if name in self.names:
                numbers[numbers == _LAST - self.names.index(name)] = number
        return numbers.view(np.uint8).reshape(-1, 4)

    @property
    def _number(self) -> np.dtype[np.uint32]:
        return np.dtype("<u4" if self.byteorder == "little" else ">u4")

    def describe(self) -> str:
        return "program"
