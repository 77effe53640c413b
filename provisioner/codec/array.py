"""Arrays of a fixed length. All elements of one form are encoded as one column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from provisioner.model.special_fields import Special
from provisioner.model.types import Bytes, Column, Fault, Path, Type, Value
from provisioner.model.words import plural


class Array(Type, frozen=True):
    """`count` elements. A value has all of them."""

    element: Type
    count: int

    @property
    def size(self) -> int:
        return self.element.size * self.count

    @property
    def align(self) -> int:
        return self.element.align

    @property
    def sensitive(self) -> bool:
        return self.element.sensitive

    @property
    def specials(self) -> tuple[Special, ...]:
        # The kernel takes at most 11 (BTF_FIELDS_MAX), so the first 12 elements are enough.
        each = self.element.specials
        return tuple(special.moved(at * self.element.size) for at in range(min(self.count, 12)) for special in each)

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        if () in columns or any(not isinstance(path[0], int) for path in columns):
            what = f"the value of a {self.describe()} must be a list of {self.count} elements"
            return [Fault(-1, (), what, "write [FIRST, SECOND, ...]", "wrong-type")]
        elements: dict[int, dict[Path, Column]] = {}
        for path, column in columns.items():
            elements.setdefault(int(path[0]), {})[path[1:]] = column
        if faults := self._faulty_indexes(elements):
            return faults
        shapes: dict[tuple[Path, ...], list[int]] = {}
        for index, element in elements.items():
            shapes.setdefault(tuple(element), []).append(index)
        for paths, indexes in shapes.items():
            faults += self._encode_alike(paths, [(index, elements[index]) for index in indexes], out)
        return faults

    def _faulty_indexes(self, elements: Mapping[int, object]) -> list[Fault]:
        beyond = [index for index in elements if not 0 <= index < self.count]
        if beyond:
            what = f"element {beyond[0]} does not exist: a {self.describe()} has {plural(self.count, 'element')}"
            return [Fault(-1, (beyond[0],), what, id="wrong-length")]
        if len(elements) < self.count:
            what = f"the list has {plural(len(elements), 'element')}, and a {self.describe()} has {self.count:,}"
            return [Fault(-1, (), what, "write all elements", "wrong-length")]
        return []

    def _encode_alike(
        self, paths: tuple[Path, ...], elements: Sequence[tuple[int, Mapping[Path, Column]]], out: Bytes
    ) -> list[Fault]:
        """Encode elements with the same `paths` as rows of one block, one element after the other."""
        rows = len(out)
        block = np.zeros((len(elements) * rows, self.element.size), np.uint8)
        flat: dict[Path, Column] = {path: [text for _, columns in elements for text in columns[path]] for path in paths}
        faults = self.element.encode(flat, block)
        indexes = [index for index, _ in elements]
        out.reshape(rows, self.count, self.element.size)[:, indexes] = block.reshape(
            len(elements), rows, self.element.size
        ).transpose(1, 0, 2)
        return [fault for each in faults for fault in self._placed(each, indexes, rows)]

    def _placed(self, fault: Fault, indexes: Sequence[int], rows: int) -> Iterable[Fault]:
        if fault.row >= 0:
            yield Fault(fault.row % rows, (indexes[fault.row // rows], *fault.path), fault.what, fault.hint, fault.id)
            return
        for index in indexes:
            yield Fault(-1, (index, *fault.path), fault.what, fault.hint, fault.id)

    def decode(self, rows: Bytes) -> list[Value]:
        flat = self.element.decode(np.ascontiguousarray(rows).reshape(len(rows) * self.count, self.element.size))
        return [flat[at : at + self.count] for at in range(0, len(flat), self.count)]

    def mask(self) -> Bytes:
        return np.tile(self.element.mask(), self.count)

    def conceal(self, value: Value) -> Value:
        return [self.element.conceal(part) for part in value] if self.sensitive else value

    def describe(self) -> str:
        return f"{self.element.describe()}[{self.count}]"
