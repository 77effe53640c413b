"""Maps of other tools, made without a spec, on the tests' own bpffs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import BtfFd, MapFd
from provisioner.model.map_shape import MapShape
from tests.apply.conftest import bench as bench
from tests.cli.support import Done, run
from tests.conftest import remove_tree

Entries = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Others:
    """Makes maps and pins them in `folder`; `out` is where exports go."""

    folder: Path
    out: Path

    def plain(
        self,
        name: str,
        shape: MapShape,
        entries: Entries,
        *,
        btf: BtfFd | None = None,
        key_id: int = 0,
        value_id: int = 0,
    ) -> Path:
        with maps.create(shape, name, btf=btf, btf_key_type_id=key_id, btf_value_type_id=value_id) as fd:
            fill(fd, entries)
            bpffs.pin(fd, self.folder / name)
        return self.folder / name

    def outer(self, name: str, shape: MapShape, inner: MapShape, slots: Mapping[bytes, Entries]) -> Path:
        with maps.create(inner, "dummy") as dummy, maps.create(shape, name, inner=dummy) as outer:
            bpffs.pin(outer, self.folder / name)
            for key, entries in slots.items():
                with maps.create(inner, "theirs") as fd:
                    fill(fd, entries)
                    maps.insert_inner(outer, key, fd)
        return self.folder / name

    def export(self, *words: str | Path) -> tuple[Done, Path]:
        """Export; gives how it ended and the spec that it wrote."""
        done = run("export", *words)
        spec = self.out / "spec.yaml"
        spec.write_text(done.out)
        return done, spec

    def unchanged(self, spec: Path) -> None:
        """Hold a spec to the promise of an export: the plan sees no changes, and nothing speaks against it."""
        done = run("plan", spec)
        assert (done.status, done.out, done.err) == (0, "No changes. The live state matches the spec.\n", "")


def fill(fd: MapFd, entries: Entries) -> None:
    for key, value in entries.items():
        maps.update(fd, key, value)


@pytest.fixture
def others(pin_root: Path, tmp_path: Path) -> Iterator[Others]:
    yield Others(pin_root, tmp_path)
    adopted = pin_root.parent / "adopted"
    if adopted.exists():
        remove_tree(adopted)
