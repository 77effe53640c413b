"""Keys and values of a map in the layouts of another one. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from provisioner.codec.reshape import Converted, Reshaping
from provisioner.model.map_shape import rounded_up
from provisioner.model.types import Bytes


class EntryReshaping(msgspec.Struct, frozen=True):
    """How the entries of one map become those of another. `cpus` is 0 unless both have values per CPU."""

    key: Reshaping
    value: Reshaping
    cpus: int = 0

    @property
    def is_identity(self) -> bool:
        return self.key.is_identity and self.value.is_identity

    def keys(self, keys: Bytes) -> Converted:
        return self.key.convert(keys)

    def values(self, values: Bytes) -> Converted:
        """`values`, shape (n, bytes that the kernel moves), likewise; a row is that of an entry, not of a CPU."""
        if not self.cpus or self.value.is_identity:
            return self.value.convert(values)
        before, after = (rounded_up(size) for size in (self.value.old_size, self.value.new_size))
        spread = np.ascontiguousarray(values).reshape(len(values) * self.cpus, before)
        done = self.value.convert(np.ascontiguousarray(spread[:, : self.value.old_size]))
        out = np.zeros((len(spread), after), np.uint8)
        out[:, : self.value.new_size] = done.rows
        return Converted(
            out.reshape(len(values), self.cpus * after),
            tuple(misfit.per(self.cpus) for misfit in done.misfits),
            tuple(msgspec.structs.replace(loss, rows=np.unique(loss.rows // self.cpus)) for loss in done.lost),
        )
