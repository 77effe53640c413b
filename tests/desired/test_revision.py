"""The revision: one digest of all files and variables of a project, wherever its directory is."""

from __future__ import annotations

from pathlib import Path

import provisioner

SPEC = """\
version: 1
name: edge
vars: {rate: 1}
maps:
  m: {type: hash, key: u32, value: u32, max_entries: 8, entries: {from: m.csv, key: k, value: v}}
  n: {type: array, key: u32, value: u32, max_entries: 1, entries: {0: "${rate}"}}
"""


def revision(folder: Path, *, spec: str = SPEC, table: str = "k,v\n1,2\n", over: str = "", **variables: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "edge.yaml").write_text(spec)
    (folder / "m.csv").write_text(table)
    (folder / "over.yaml").write_text(over or "{}\n")
    overlays = [folder / "over.yaml"] if over else []
    return provisioner.load(folder / "edge.yaml", overlays=overlays, variables=variables).desired.revision


def test_each_input_changes_it_and_nothing_else_does(tmp_path: Path) -> None:
    first = revision(tmp_path / "a")
    assert first.startswith("sha256:")
    assert revision(tmp_path / "b") == first
    others = {
        revision(tmp_path / "a", spec=SPEC + "limits: {at_least: 1}\n"),
        revision(tmp_path / "a", table="k,v\n1,3\n"),
        revision(tmp_path / "a", over="vars: {rate: 1}\n"),
        revision(tmp_path / "a", rate="2"),
    }
    assert len(others | {first}) == 5
    assert revision(tmp_path / "a", rate="1") == first


def test_only_environment_variables_that_it_uses_change_it(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("version: 1\nname: edge-${node}\nvars: {node: {env: NODE}}\n")
    first, two = (provisioner.load(tmp_path / "edge.yaml", environment={"NODE": node}) for node in "ab")
    assert first.desired.revision != two.desired.revision
    assert provisioner.load(tmp_path / "edge.yaml", environment={"NODE": "a", "X": "y"}).desired.revision == (
        first.desired.revision
    )
