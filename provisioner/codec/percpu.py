"""Per-CPU values: one value for each possible CPU, each rounded up to 8 bytes (`bpf_percpu_hash_copy`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from provisioner.codec.array import Array
from provisioner.codec.wrapper import Wrapper
from provisioner.model.map_shape import rounded_up
from provisioner.model.special_fields import Special
from provisioner.model.types import Bytes, Column, Fault, Path, Type, Value
from provisioner.model.words import plural


class PerCpu(Type, frozen=True):
    """`element` for each of `cpus`. A single value is for all of them; a list has one value for each."""

    element: Type
    cpus: int

    @property
    def stride(self) -> int:
        """Bytes from one CPU's value to the next."""
        return rounded_up(self.element.size)

    @property
    def size(self) -> int:
        return self.stride * self.cpus

    @property
    def align(self) -> int:
        return 8

    @property
    def sensitive(self) -> bool:
        return self.element.sensitive

    @property
    def specials(self) -> tuple[Special, ...]:
        return self.element.specials

    def encode(self, columns: Mapping[Path, Column], out: Bytes) -> list[Fault]:
        spread = out.reshape(len(out), self.cpus, self.stride)
        if not self._is_list(columns):
            once = np.zeros((len(out), self.element.size), np.uint8)
            faults = self.element.encode(columns, once)
            spread[:, :, : self.element.size] = once[:, None, :]
            return faults
        faults_of_all: list[Fault] = []
        wanted = {path[0] for path in columns}
        if wanted != set(range(self.cpus)):
            what = f"the list has {plural(len(wanted), 'value')}, and the host has {plural(self.cpus, 'possible CPU')}"
            return [Fault(-1, (), what, "write one value for each CPU, or one value for all", "wrong-length")]
        for cpu in range(self.cpus):
            own = {path[1:]: column for path, column in columns.items() if path[0] == cpu}
            part = np.zeros((len(out), self.element.size), np.uint8)
            faults_of_all += [
                Fault(fault.row, (cpu, *fault.path), fault.what, fault.hint, fault.id)
                for fault in self.element.encode(own, part)
            ]
            spread[:, cpu, : self.element.size] = part
        return faults_of_all

    def _is_list(self, columns: Mapping[Path, Column]) -> bool:
        """Whether the columns are a list with one value per CPU, not a single value that is a list itself."""
        depth, inner = 1, self.element
        while isinstance(inner, Array):
            depth, inner = depth + 1, inner.element
        return bool(columns) and all(
            len(path) >= depth and all(isinstance(step, int) for step in path[:depth]) for path in columns
        )

    def decode(self, rows: Bytes) -> list[Value]:
        """One value if all CPUs have the same, otherwise a list."""
        parts = np.ascontiguousarray(rows).reshape(len(rows), self.cpus, self.stride)[:, :, : self.element.size]
        held = parts & self.element.mask()
        alike = (held == held[:, :1]).all(axis=(1, 2))
        values = self.element.decode(np.ascontiguousarray(parts).reshape(-1, self.element.size))
        each = [values[row * self.cpus : (row + 1) * self.cpus] for row in range(len(rows))]
        return [own[0] if same else own for own, same in zip(each, alike.tolist(), strict=True)]

    def mask(self) -> Bytes:
        mask = np.zeros(self.stride, np.uint8)
        mask[: self.element.size] = self.element.mask()
        return np.tile(mask, self.cpus)

    def describe(self) -> str:
        return self.element.describe()

    def conceal(self, value: Value) -> Value:
        if isinstance(value, list) and not isinstance(self.element, Array):
            return [self.element.conceal(part) for part in value]
        return self.element.conceal(value)


def per_cpu(type_: Type) -> PerCpu | None:
    """The type of per-CPU values, if `type_` is one, with `owned_members` or without."""
    while isinstance(type_, Wrapper):
        type_ = type_.inner
    return type_ if isinstance(type_, PerCpu) else None
