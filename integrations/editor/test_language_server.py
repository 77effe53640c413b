"""The schemas as an editor uses them: no false error, and all types and names are offered. `make test-editor`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from language_server import LanguageServer

from provisioner.codec.build import builtins

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "build/node/node_modules/.bin/yaml-language-server"
SPEC = """\
version: 1
name: x
types: {verdict: {enum: {deny: 0, allow: 1}, base: u8}}
inner_templates:
  acl: {type: hash, key: u32, value: u32, max_entries: 4}
  other:
    type: hash
    key: \

    value: u32
    max_entries: 4
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 4
    inner: \

"""


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    started = LanguageServer(SERVER, ROOT)
    yield started
    started.close()


def with_schema(schema: Path, text: str) -> str:
    return f"# yaml-language-server: $schema={schema}\n{text}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_file_has_an_error(server: LanguageServer, path: Path) -> None:
    assert server.diagnostics(server.open(path)) == []


def test_an_error_is_at_its_place(server: LanguageServer, tmp_path: Path) -> None:
    text = with_schema(ROOT / "schemas/provisioner.schema.json", "version: 1\nname: x\nmap: {}\n")
    (error,) = server.diagnostics(server.open(tmp_path / "wrong.yaml", text))
    assert error["range"]["start"]["line"] == 3


def test_all_types_are_offered(server: LanguageServer, tmp_path: Path) -> None:
    uri = server.open(tmp_path / "types.yaml", with_schema(ROOT / "schemas/provisioner.schema.json", SPEC))
    labels = server.labels(uri, 8, 9)
    assert set(builtins("little", {})) <= labels
    assert {"struct", "union", "enum", "btf", "lpm_key"} <= labels
    assert not [label for label in labels if "object" in label.lower()]
    assert "kernel" in server.hover(uri, 7, 6)


ATTACH = """\
version: 1
name: x
objects:
  lb:
    file: lb.bpf.o
    programs:
      ingress:
        attach:\
"""


def test_kinds_of_attachments_are_offered(server: LanguageServer, tmp_path: Path) -> None:
    for line, indent in ((8, 16), (9, 10)):
        text = ATTACH + (" \n" if line == 8 else "\n" + " " * indent + "\n")
        uri = server.open(tmp_path / f"attach{line}.yaml", with_schema(ROOT / "schemas/provisioner.schema.json", text))
        assert server.labels(uri, line, indent) == {"auto", "xdp", "tcx", "tc", "cgroup", "netns", "perf_event"}


def test_a_variable_is_no_error_in_a_number(server: LanguageServer, tmp_path: Path) -> None:
    text = 'version: 1\nname: x-${site}\nmaps:\n  m: {type: hash, key: u32, value: u32, max_entries: "${room}"}\n'
    text = with_schema(ROOT / "schemas/provisioner.schema.json", text)
    assert server.diagnostics(server.open(tmp_path / "variables.yaml", text)) == []


def test_names_of_the_spec_are_offered(server: LanguageServer, tmp_path: Path) -> None:
    spec = tmp_path / "edge.yaml"
    spec.write_text(SPEC.replace("key: \n", "key: u32\n").replace("inner: \n", "inner: acl\n"))
    made = subprocess.run(
        [sys.executable, "-m", "provisioner", "schema", "spec", spec], check=True, capture_output=True, text=True
    )
    assert json.loads(made.stdout)["title"]
    schema = tmp_path / "edge.schema.json"
    schema.write_text(made.stdout)
    uri = server.open(tmp_path / "names.yaml", with_schema(schema, SPEC))
    assert "verdict" in server.labels(uri, 8, 9)
    assert {"acl", "other"} <= server.labels(uri, 16, 11)
