"""The whole export: find live maps, read them, choose types, write the spec."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from provisioner import document
from provisioner.adopt.export import Exported, export
from provisioner.adopt.found import FoundMap
from provisioner.adopt.naming import Naming, read_naming
from provisioner.adopt.survey import survey
from provisioner.codec.btf import BtfTypes
from provisioner.desired import loading
from provisioner.kernel import bpffs
from provisioner.kernel import host as this_host
from provisioner.model.errors import Problems
from provisioner.observed import pinned_btf

_USUAL: Final = Path("/sys/fs/bpf")


def export_live(
    pins: Iterable[Path],
    ids: Iterable[int],
    names: Iterable[str],
    types: Path | None,
    project: str,
    *,
    tables: bool,
) -> Exported:
    """Live maps as a spec of the project `project`; `types` is a file with their types.

    Raises InputError for maps that do not exist and types that do not fit, and HostError.
    """
    naming, btf = (Naming(), {}) if types is None else _naming(types)
    host = this_host.read_host()
    live_maps = survey(pins, ids, names, host)
    return export(
        live_maps, naming, host.byteorder, project, pin_root=_pin_root(live_maps, project), tables=tables, btf=btf
    )


def _naming(path: Path) -> tuple[Naming, dict[str, BtfTypes]]:
    """The types of the file, and the BTF that they come from."""
    problems = Problems()
    tree = document.load([path], problems=problems).tree
    naming = read_naming(tree, problems)
    btf: dict[str, BtfTypes] = {}
    loading.read_host_btf(naming.btf_types(), btf, pinned_btf.read, problems)
    problems.raise_if_any()
    return naming, btf


def _pin_root(live_maps: Iterable[FoundMap], project: str) -> str:
    """A directory on the bpffs of the pins, if it is not the usual bpffs."""
    pinned = next((Path(one.pin) for one in live_maps if one.pin), None)
    if pinned is None or pinned.is_relative_to(_USUAL):
        return ""
    mounts = [mount for mount in map(Path, bpffs.mounts()) if pinned.is_relative_to(mount)]
    return str(max(mounts, key=lambda mount: len(mount.parts)) / project) if mounts else ""
