"""Files of version 1, of each format, as each release wrote them."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

import provisioner
from provisioner import InputError, RefusedError
from provisioner.cli import saved
from provisioner.language import schema_file
from provisioner.model.record import Meta
from tests.cli.support import parsed, run
from tests.problems import raises

V1: Final = Path(__file__).parent / "v1"
SPEC: Final = V1 / "spec.yaml"
FOLDERS: Final = {"0.1.0": V1, "0.2.0": V1.with_name("v1-0.2.0"), "0.3.0": V1.with_name("v1-0.3.0")}
WRITERS: Final = pytest.mark.parametrize("files", FOLDERS.values(), ids=FOLDERS)


def stored(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def promised(old: Any, new: Any, place: str = "") -> list[str]:
    """Where `new` lacks what `old` says; new keys may come at any time."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{place}.{key} is gone" for key in old if key not in new]
        return gone + [lack for key in old if key in new for lack in promised(old[key], new[key], f"{place}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        both = enumerate(zip(old, new, strict=True))
        return [lack for number, (old, other) in both for lack in promised(old, other, f"{place}[{number}]")]
    return [] if old == new else [f"{place}: {old!r} became {new!r}"]


@WRITERS
def test_a_spec_means_what_it_meant(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    document = run("plan", "spec.yaml", "--against", "empty", "--full", "--format", "json").document
    old = stored(files / "plan.json")
    assert promised({key: old[key] for key in ("project", "pin_root", "summary", "changes")}, document) == []
    assert document["format_version"].split(".")[0] == old["format_version"].split(".")[0] == "1"


@WRITERS
def test_a_snapshot_shows_what_it_showed(tmp_path: Path, files: Path) -> None:
    """The plan of the spec that it was taken with is empty: keys, values, shapes and the record are understood."""
    snapshot = provisioner.read_snapshot(files / "host.snapshot")
    assert not provisioner.load(files / "spec.yaml", snapshot=snapshot).plan(against=snapshot).changed
    shutil.copy(files / "acl.csv", tmp_path)
    edited = tmp_path / "spec.yaml"
    edited.write_text((files / "spec.yaml").read_text().replace("10.0.0.0/8: deny, 0", "10.0.0.0/8: allow, 0"))
    summary = provisioner.describe(provisioner.load(edited, snapshot=snapshot).plan(against=snapshot)).summary
    assert (summary.inner_maps.update, summary.entries.update, summary.entries.insert) == (1, 1, 0)


@WRITERS
def test_a_saved_plan_is_read_and_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digests are of another release: that the spec changed would be wrong."""
    monkeypatch.setattr(saved, "__version__", "0.4.0")
    plan, fields = saved.read(files / "saved-plan.json"), stored(files / "saved-plan.json")
    assert (plan.project, plan.pin_root, plan.digest) == ("compat", "/sys/fs/bpf/compat", fields["digest"])
    assert not plan.used and plan.overrides == provisioner.Overrides()
    other = replace(plan, digest="sha256:0")  # a release may compute the same one
    with raises(RefusedError, "plan-of-another-release"):
        other.check_same(provisioner.load(files / "spec.yaml").plan(against="empty"))


def test_a_plan_of_this_format_is_the_same_plan_on_another_host() -> None:
    files = FOLDERS["0.3.0"]
    plan = saved.read(files / "saved-plan.json")
    assert plan.release == "0.3.0"
    if provisioner.__version__ == plan.release:
        plan.check_same(provisioner.load(files / "spec.yaml").plan(against="empty"))


def test_a_record_is_read() -> None:
    """Of a project with an object: modes of attachments became settings, and revisions and types came later."""
    record = Meta.from_json((V1.with_name("v1-0.2.0") / "record.json").read_text())
    assert record.project == "edge-demo" and record.revision == ""
    assert record.attachments == {"_link_xdp_router": {"kind": "xdp", "mode": "generic"}}
    assert (list(record.objects), sorted(record.templates)) == (["router"], ["tenants", "vips"])
    assert len(record.used_maps["xdp_router"]) == 5


def test_a_record_has_what_0_3_0_added() -> None:
    record = Meta.from_json((FOLDERS["0.3.0"] / "record.json").read_text())
    assert set(record.maps) == set(record.types) == {*record.templates, "active", "plain_secret"}
    assert (record.types["quota"].owned_members, record.protected) == (("limit",), ("blocklist", "plain_secret"))


def lenient(schema: Any) -> Any:
    """A schema that requires nothing, and knows all keys: newer documents have more of them, but none may go."""
    if isinstance(schema, dict):
        # A list under `required` is the keyword; a property may have that name.
        kept = ((key, old) for key, old in schema.items() if key != "required" or not isinstance(old, list))
        # Without them, a part may be of several kinds.
        strict = (
            {"additionalProperties": False} if isinstance(schema.get("type"), str) and "properties" in schema else {}
        )
        return strict | {"anyOf" if key == "oneOf" else key: lenient(one) for key, one in kept}
    return [lenient(one) for one in schema] if isinstance(schema, list) else schema


@WRITERS
@pytest.mark.parametrize("name", ["plan.json", "apply.json", "show.json"])
def test_documents_fit_the_schema_that_is_published(name: str, files: Path) -> None:
    schema = lenient(schema_file.load(schema_file.OUTPUT_SCHEMA))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(stored(files / name))] == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("validate", "two.yaml"), "version"),
        (("plan", SPEC, "--against", "two.snapshot"), "two.snapshot"),
        (("apply", SPEC, "--plan", "two.json"), "two.json"),
    ],
)
def test_what_comes_from_the_future_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str | Path, ...], place: str
) -> None:
    """Never half understood: each format says its version, and another one ends with 1."""
    (tmp_path / "two.yaml").write_text(SPEC.read_text().replace("version: 1", "version: 2"))
    shutil.copy(V1 / "acl.csv", tmp_path)
    with zipfile.ZipFile(V1 / "host.snapshot") as old, zipfile.ZipFile(tmp_path / "two.snapshot", "w") as new:
        new.writestr("header.json", json.dumps(json.loads(old.read("header.json")) | {"version": 2}))
    (tmp_path / "two.json").write_text((V1 / "saved-plan.json").read_text().replace("plan-1", "plan-2"))
    monkeypatch.chdir(tmp_path)
    done = run(*words, "--format", "json")
    assert (done.status, done.out) == (1, "")
    (error,) = parsed(done.err)["errors"]
    assert place in json.dumps(error)


def test_a_snapshot_with_a_new_field_is_refused_as_one_of_a_later_release(tmp_path: Path) -> None:
    later = tmp_path / "host.snapshot"
    with zipfile.ZipFile(V1 / "host.snapshot") as old, zipfile.ZipFile(later, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(json.loads(data) | {"weather": "fine"}) if name == "header.json" else data)
    with raises(InputError, "malformed-snapshot") as caught:
        provisioner.read_snapshot(later)
    assert "weather" in str(caught.value) and "later release" in (caught.value.problems[0].hint or "")


def test_the_versions_are_the_ones_that_are_documented() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "versioning.md").read_text()
    assert f"now {stored(V1 / 'plan.json')['format_version']}" in guide
    assert provisioner.__version__.split(".")[0] == "0", "1.0 changes what the guide says of breaking changes"
