"""A plan for many hosts against their snapshots: `provisioner plan --hosts`.

`unshare -m python -m benchmarks.fleet [HOSTS]`, as root. It makes a fleet of the spec in examples/fleet: ten sites, an
overlay for every hundredth host, and a snapshot for each host. It prints a row of the table in docs/benchmarks.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import as_installed, run
from benchmarks.suite import PROVISIONER, ROOT

_SPEC: Final = ROOT / "examples" / "fleet" / "base.yaml"
_SITES: Final = 10
_OWN: Final = 100
"""Every so many hosts, one has an overlay of its own."""

HEAD: Final = "| hosts | groups | wall s | CPU s | peak MB |"


def make(folder: Path, hosts: int, snapshot: Path) -> Path:
    """A fleet in `folder`; gives its inventory. All hosts have the same live state."""
    for name in ("sites", "hosts", "snapshots"):
        (folder / name).mkdir()
    shutil.copy(_SPEC, folder / "base.yaml")
    for site in range(_SITES):
        entries = f"10.{site}.0.0/16: allow"
        spec = f"outer_maps: {{tenants: {{inner_maps: {{1: {{entries: {{{entries}}}}}}}}}}}\n"
        (folder / "sites" / f"s{site}.yaml").write_text(spec)
    lines = ['overlays: ["sites/{site}.yaml", "hosts/{host}.yaml?"]', "snapshot: snapshots/{host}", "hosts:"]
    for host in range(hosts):
        lines.append(f"  edge-{host}: {{labels: {{site: s{host % _SITES}}}}}")
        shutil.copy(snapshot, folder / "snapshots" / f"edge-{host}")
        if host % _OWN == 0:
            own = f"maps: {{settings: {{entries: {{0: {host}}}}}}}\n"
            (folder / "hosts" / f"edge-{host}.yaml").write_text(own)
    inventory = folder / "hosts.yaml"
    inventory.write_text("".join(f"{line}\n" for line in lines))
    return inventory


def _snapshot(folder: Path, bpffs: Path) -> Path:
    """The snapshot of a host where the base spec is live."""
    root, file = f"--pin-root={bpffs / 'fleet-benchmark'}", folder / "one"
    for words in (("apply", "--yes"), ("export", f"--snapshot={file}"), ("destroy", "--yes")):
        subprocess.run([*PROVISIONER, *words, str(_SPEC), root], check=True, capture_output=True)
    return file


def main(arguments: Sequence[str]) -> None:
    hosts = int(arguments[0]) if arguments else 1000
    bpffs = Path(arguments[1] if len(arguments) > 1 else "/sys/fs/bpf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        as_installed(folder)
        inventory = make(folder, hosts, _snapshot(folder, bpffs))
        root = f"--pin-root={bpffs / 'fleet-benchmark'}"
        words = ("plan", str(folder / "base.yaml"), root, "--hosts", str(inventory), "--format", "json")
        sample = run([*PROVISIONER, *words], ok=(2,))
        groups = len(sample.output["groups"])
    print(HEAD)
    print(f"| {hosts:,} | {groups} | {sample.wall:.1f} | {sample.cpu:.1f} | {sample.peak:.0f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
