"""Types whose value is one scalar: columns of its text, in strings or spans of a file, become bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np

from provisioner.codec.spans import Spans
from provisioner.model.types import Bytes, Column, Fault, InvalidTextError, Path, Type


class ScalarType(Type, frozen=True):
    """A type whose value is written as one text."""

    @abstractmethod
    def parse_one(self, text: str) -> bytes:
        """The bytes of one text; raises RefusedError for what can't be held exactly."""

    @abstractmethod
    def parse_all(self, texts: Sequence[str]) -> Bytes | None:
        """All of `texts` at once, shape (n, size), or None if any may be refused: then each goes to `parse_one`."""

    def parse_spans(self, spans: Spans) -> Bytes | None:  # noqa: ARG002 (a type may know no faster way)
        """The same of texts that are no strings yet; None leaves them to the other two."""
        return None

    @property
    def align(self) -> int:
        return self.size

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        texts = columns.get(())
        if texts is None or len(columns) != 1:
            return [Fault(-1, (), f"a {self.describe()} is one value, not a list or mapping")]
        if isinstance(texts, Spans):
            found = self.parse_spans(texts)
            if found is not None:
                out[:] = found
                return []
            texts = texts.strings()
        if all_written(texts):
            rows = self.parse_all(texts)
            if rows is not None:
                out[:] = rows
                return []
        faults: list[Fault] = []
        for row, text in enumerate(texts):
            if text is None:
                faults.append(Fault(row, (), f"nothing is written here for a {self.describe()}"))
                continue
            try:
                out[row] = np.frombuffer(self.parse_one(text), np.uint8)
            except InvalidTextError as refused:
                faults.append(Fault(row, (), refused.what, refused.hint, refused.id))
        return faults

    def mask(self) -> Bytes:
        return np.full(self.size, 0xFF, np.uint8)


def all_written(texts: Column) -> TypeGuard[Sequence[str]]:
    """Whether no row of the column is None."""
    return None not in texts
