"""A pass after a changed file applies what the file changed; what else differs is for the interval."""

from __future__ import annotations

from pathlib import Path

import msgspec

from provisioner.apply.outcome import open_fds
from provisioner.kernel import maps
from provisioner.kernel.bpffs import open_pin
from provisioner.kernel.fd import MapFd
from provisioner.watch.machine import Verdict
from provisioner.watch.reconcile import Aim, Loading, PassResult, Reconciler
from tests.apply.conftest import HEAD, Bench
from tests.apply.conftest import bench as bench

SPEC = """
inner_templates: {acl: {type: hash, key: u32, value: u32, max_entries: 16}}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 64
    inner: acl
    inner_maps: {from: acl.csv, outer_key: t, key: k, value: v}
maps:
  ports: {type: hash, key: u32, value: u32, max_entries: 8, entries: {80: 1}}
"""


def changed_port(root: Path) -> None:
    with open_pin(root / "ports", MapFd) as fd:
        maps.update(fd, (80).to_bytes(4, "little"), (9).to_bytes(4, "little"))


def test_a_changed_table_is_followed(bench: Bench) -> None:
    spec, table = bench.folder / "spec.yaml", bench.folder / "acl.csv"
    spec.write_text(HEAD + SPEC)
    table.write_text("t,k,v\n1,1,1\n1,2,2\n2,1,1\n")
    reconciler = Reconciler(Aim((spec,), pin_root=str(bench.root)), lambda: None, lambda: "")

    def passed(*, load: bool = True) -> PassResult:
        if load:
            assert reconciler.load() is Loading.DONE
        return reconciler.check()

    assert passed().verdict is Verdict.APPLIED
    fds = open_fds()
    changed_port(bench.root)
    table.write_text("t,k,v\n1,1,1\n1,2,3\n2,1,1\n")
    result = passed()
    assert result.verdict is Verdict.APPLIED
    assert result.summary is not None
    assert msgspec.to_builtins(result.summary.entries) == {"insert": 0, "update": 1, "delete": 0, "unchanged": 3}
    assert (result.summary.inner_maps.update, result.summary.inner_maps.unchanged) == (1, 1)
    assert bench.tree("tenants")[b"\1\0\0\0"][b"\2\0\0\0"] == b"\3\0\0\0"
    assert bench.entries("ports") == {b"\x50\0\0\0": b"\x09\0\0\0"}, "the rest is for the interval"

    spec.write_text(HEAD + SPEC + "# a comment\n")
    assert passed().verdict is Verdict.CONVERGED
    assert passed(load=False).verdict is Verdict.APPLIED
    assert bench.entries("ports") == {b"\x50\0\0\0": b"\x01\0\0\0"}
    assert passed(load=False).verdict is Verdict.CONVERGED

    spec.write_text(
        HEAD + SPEC.replace("max_entries: 8, entries: {80: 1}", "max_entries: 8, entries: {80: 2}, after: [tenants]")
    )
    changed_port(bench.root)
    assert passed().verdict is Verdict.APPLIED, "more than contents: all is compared"
    assert bench.entries("ports") == {b"\x50\0\0\0": b"\x02\0\0\0"}
    assert open_fds() == fds
