"""Which files of a directory are a spec, and which only look like one; files whose content was replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioner import document
from provisioner.desired.loading import SpecError
from provisioner.document import Document
from provisioner.model.errors import Problems
from provisioner.model.host import Host
from provisioner.project.opening import load as load_project
from tests.document.support import HEAD, at, described, write

TENANT = "outer_maps: {tenants: {inner_maps: {1: {}}}}\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
HTML = "<!DOCTYPE html>\n<html><head><title>404: Not found</title></head></html>\n"
CONFLICT = "<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n"
TABLE = "maps: {{m: {{type: hash, key: u32, value: u32, max_entries: 9, entries: {{from: {name}}}}}}}\n"


def load(folder: Path) -> tuple[Document, list[str]]:
    problems = Problems()
    return document.load([folder], problems=problems), described(problems, folder)


def test_yaml_is_read_in_any_case_and_hidden_files_are_not(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": HEAD, "b.YAML": "maps: {b: {}}\n", "c.Yml": "maps: {c: {}}\n", ".d.yaml": "x: [\n"})
    loaded, problems = load(tmp_path)
    assert problems == []
    assert {Path(name).name for name in loaded.files} == {"a.yaml", "b.YAML", "c.Yml"}
    assert at(loaded.tree, "maps", "b")
    assert at(loaded.tree, "maps", "c")
    assert loaded.unread == ()


@pytest.mark.parametrize("what", ["link", "loop", "FIFO", "device"])
def test_a_spec_of_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path, what: str) -> None:
    """A dangling link was left out in silence, and the tenant in its file deleted."""
    write(tmp_path, {"a.yaml": HEAD})
    tenant = tmp_path / "tenant.yaml"
    match what:
        case "FIFO":
            os.mkfifo(tenant)
        case _:
            tenant.symlink_to({"link": "gone", "loop": "tenant.yaml", "device": "/dev/zero"}[what])
    problems = Problems()
    document.load([tmp_path], problems=problems)
    (problem,) = problems
    assert problem.id == "unreadable-file"
    assert str(tenant) in problem.what
    assert problem.hint == ("it is a link to gone, which does not exist" if what == "link" else "")


def test_files_that_look_like_specs_and_are_not_read_are_named(tmp_path: Path) -> None:
    names = [".hidden.yaml", "old.yaml.bak", "tenants/2.yaml", "tenants/deeper/3.yml"]
    write(tmp_path, {"a.yaml": HEAD + TENANT, "tenants/compose.yaml": "services: {}\n", "notes.txt": TENANT})
    write(tmp_path, dict.fromkeys([*names, ".git/4.yaml"], TENANT))
    loaded, problems = load(tmp_path)
    assert problems == []
    assert [str(path.relative_to(tmp_path)) for path in loaded.unread] == names


def test_included_files_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": HEAD + "include: [tenants/*.yaml]\n", "tenants/2.yaml": TENANT})
    loaded, problems = load(tmp_path)
    assert (problems, loaded.unread) == ([], ())


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (LFS, ""),
        (HTML, ""),
        ("\ufeff" + HTML, ""),
        (HEAD + CONFLICT.format(ours="limits: {delete_percent: 1}\n", theirs="limits: {}\n"), ":3:1"),
        (HEAD + "||||||| base\nlimits: {}\n", ":3:1"),
    ],
)
def test_a_spec_that_was_replaced_is_a_single_error(tmp_path: Path, content: str, place: str) -> None:
    write(tmp_path, {"a.yaml": content})
    assert load(tmp_path)[1] == [f"a.yaml{place}: wrong-file-content"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("t.csv", LFS, 1),
        ("t.csv", HTML, 1),
        ("t.parquet", LFS, 1),
        ("t.ndjson", LFS, 1),
        ("t.csv", "key,value\n1,1\n" + CONFLICT.format(ours="2,2\n", theirs="2,3\n"), 3),
        ("t.ndjson", CONFLICT.format(ours='{"key": 1, "value": 2}\n', theirs='{"key": 1, "value": 3}\n'), 1),
    ],
)
def test_a_table_that_was_replaced_is_a_single_error(tmp_path: Path, name: str, content: str, line: int) -> None:
    write(tmp_path, {"a.yaml": HEAD + TABLE.format(name=name), name: content})
    with pytest.raises(SpecError) as caught:
        load_project([tmp_path], host=Host("little", 2))
    (problem,) = caught.value.problems
    assert (str(problem.where), problem.id) == (f"{tmp_path}/{name}:{line}:1", "wrong-file-content")
