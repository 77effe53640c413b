"""`explain` for programs: one document, held to the published schema; and objects and programs explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.report import jsondoc
from provisioner.report.formats import Layout
from provisioner.report.model import Explanation
from tests.apply.conftest import Bench
from tests.cli.support import parsed, run
from tests.views.test_explain import SLOT, SPEC


def document(bench: Bench, text: str, address: str) -> dict[str, Any]:
    write = jsondoc.RENDERERS.explanation
    assert write is not None
    return parsed("".join(write(Explanation("edge", address, bench.load(text).explain(address)), Layout())))


def test_an_entry_that_changes(bench: Bench) -> None:
    bench.apply(SPEC)
    explained = document(bench, SPEC.replace("10.0.0.0/8: 1", "10.0.0.0/8: 3"), f"{SLOT}[10.0.0.0/8]")
    assert explained["kind"] == "entry"
    assert explained["wanted_by"] == {"file": f"{bench.folder}/spec.yaml", "line": 20}
    assert explained["key_bytes"] == "080000000a000000"
    assert (explained["wanted"], explained["live"]) == ({"value": 3, "bytes": "03"}, {"value": 1, "bytes": "01"})
    assert explained["live_slot"]["id"] > 0
    assert (explained["action"], explained["to_do"]) == ("update", "update in place")


def test_what_is_not_there(bench: Bench) -> None:
    explained = document(bench, SPEC, f"{SLOT}[192.0.2.0/24]")
    assert (explained["wanted_by"], explained["wanted"], explained["live"], explained["live_slot"]) == (
        None,
        None,
        None,
        None,
    )
    assert document(bench, SPEC, "vips[3]")["action"] == "create"
    assert document(bench, SPEC, "vips[4]")["action"] is None
    assert document(bench, SPEC, "active")["kind"] == "map"
    assert document(bench, SPEC, "tenants")["action"] == "create"


def test_slots_and_secrets(bench: Bench) -> None:
    bench.apply(SPEC)
    slot = document(bench, SPEC, "vips[3]")
    assert slot["wanted"] == {"entries": 1, "contents": "exact", "max_entries": 8, "shared": None}
    assert slot["live"]["max_entries"] == 8
    secret = document(bench, SPEC, "keys[1]")
    assert secret["wanted"] == secret["live"] == {"value": "(sensitive)", "bytes": None}


@pytest.fixture
def outers(bench: Bench, bpf_object: Callable[[str], Path]) -> tuple[Path, ...]:
    spec = bench.folder / "spec.yaml"
    spec.write_text(run("init", bpf_object("outers")).out)
    return spec, Path("--pin-root"), bench.root, Path("--allow-outside")


def test_objects_and_programs(outers: tuple[Path, ...]) -> None:
    spec, *options = outers

    def ask(address: str) -> dict[str, Any]:
        return run("explain", spec, address, *options, "--format", "json").document

    before = ask("outers")
    assert (before["kind"], before["live"], before["action"]) == ("object", None, "create")
    assert before["new_maps"] == before["maps"]
    name = before["programs"][0]
    assert ask(f"outers.{name}")["to_do"] == "load and pin: it is not loaded"
    assert run("apply", spec, *options, "--yes").status == 0
    after = ask("outers")
    assert (after["live"], after["action"]) == (after["wanted"], None)
    program = ask(f"outers.{name}")
    assert (program["kind"], program["object"], program["action"]) == ("program", "outers", None)
    assert program["live"]["id"] > 0
    assert set(program["uses"]) <= set(after["maps"])
    assert program["uses"]
    said = run("explain", spec, name, *options).out
    assert "not attached" in said
    assert "nothing: it matches the spec" in said
    assert "the spec has no map" in run("explain", spec, "outer", *options).err
