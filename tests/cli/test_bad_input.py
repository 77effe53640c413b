"""Bad input of every kind: told at its file, line and column with a reason and a hint; exit 1, and nothing changed.

And the host's own faults: exit 5.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import command
from tests.cli.support import COMMAND
from tests.conftest import remove_tree
from tests.privileges import as_nobody

GOOD = """\
version: 1
name: edge
types:
  verdict: {enum: {deny: 0, allow: 1}, base: u8}
inner_templates:
  acl: {type: lpm_trie, key: cidr4, value: verdict, max_entries: 2}
  table: {type: array, key: u32, value: u16, max_entries: 4}
outer_maps:
  tenants:
    type: hash_of_maps
    key: u32
    max_entries: 4
    inner: acl
    inner_maps:
      1: {entries: {10.0.0.0/8: deny}}
  tables:
    type: array_of_maps
    key: u32
    max_entries: 4
    inner: table
    inner_maps:
      1: {entries: {3: 7}}
"""


@dataclass(frozen=True)
class Bad:
    """An edit of the good spec, and the error that follows: `where` is line:column."""

    what: str
    old: str
    new: str
    where: str
    id: str
    hint: str


CASES = [
    Bad("unknown key", "inner: acl", "iner: acl", "13:5", "unknown-field", "did you mean `inner`"),
    Bad("wrong type", "max_entries: 2}", "max_entries: many}", "6:66", "wrong-type", ""),
    Bad("value out of range", "{3: 7}", "{3: 65536}", "22:24", "out-of-range", ""),
    Bad("negative value", "{3: 7}", "{3: -1}", "22:24", "out-of-range", ""),
    Bad("leading zero", "{3: 7}", "{3: 0755}", "22:24", "invalid-number", "755 or 0o755"),
    Bad("unknown name of an enum", "8: deny", "8: dany", "15:33", "unknown-value", "did you mean `deny`"),
    Bad("unknown template", "inner: acl", "inner: acls", "13:12", "unknown-reference", "did you mean `acl`"),
    Bad("unknown type", "value: verdict", "value: verdikt", "6:44", "unknown-type", "did you mean `verdict`"),
    Bad("unknown map type", "type: lpm_trie", "type: lpm", "6:15", "unknown-value", "did you mean `lpm_trie`"),
    Bad(
        "duplicate YAML key",
        "    max_entries: 4\n    inner: acl",
        "    key: u32\n    inner: acl",
        "12:5",
        "duplicate-key",
        "",
    ),
    Bad("duplicate entry", "{3: 7}", "{3: 7, 0x3: 8}", "22:27", "duplicate-key", "remove one"),
    Bad("duplicate slot", "{3: 7}}", "{3: 7}}\n      0x1: {}", "23:7", "duplicate-key", "remove one"),
    Bad(
        "too many entries",
        "{10.0.0.0/8: deny}",
        "{10.0.0.0/8: deny, 11.0.0.0/8: deny, 12.0.0.0/8: deny}",
        "15:7",
        "too-many-entries",
        "max_entries: 3",
    ),
    Bad("index out of range", "{3: 7}", "{4: 7}", "22:21", "out-of-range", "0 to 3"),
    Bad("outer index out of range", "1: {entries: {3", "9: {entries: {3", "22:7", "out-of-range", "0 to 3"),
    Bad("host bits", "10.0.0.0/8", "10.0.0.9/8", "15:21", "invalid-value", "write 10.0.0.0/8"),
    Bad("name too long", "  tenants:", f"  {'t' * 256}:", "9:3", "invalid-name", "shorter"),
    Bad("name with a dot", "  tenants:", "  ten.ants:", "9:3", "invalid-name", ""),
    Bad(
        "not YAML", "inner_maps:\n      1: {entries: {3", "inner_maps: [\n      1: {entries: {3", "", "invalid-yaml", ""
    ),
]

OBJECT = """\
version: 1
name: edge
inner_templates:
  rules: {{type: hash, key: u32, value: {value}, max_entries: 8}}
objects:
  one:
    file: {file}
    programs: {{{program}: {{pin: first}}}}
outer_maps:
  {map}: {{object: one, key: u32, inner: rules, inner_maps: {{}}}}
"""


class Cli:
    """The command on one spec, with the pin root on the tests' bpffs."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.spec = folder / "spec.yaml"
        self.root = root

    def run(self, verb: str, text: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.spec.write_text(text)
        arguments = [verb, str(self.spec), "--allow-outside", *words]
        if verb != "validate":
            arguments += ["--pin-root", str(self.root)]
        return subprocess.CompletedProcess(arguments, *command.run(arguments, "", os.environ | environment))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, tmp_path / "no-bpffs")


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.what)
def test_bad_input_is_reported_at_its_place(cli: Cli, bad: Bad) -> None:
    assert GOOD.count(bad.old) == 1
    done = cli.run("validate", GOOD.replace(bad.old, bad.new))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{cli.spec}:{bad.where}" in done.stderr
    assert f" error[{bad.id}]: " in done.stderr
    assert bad.hint in done.stderr
    assert ": error" in done.stderr


def test_the_spec_that_is_edited_is_good(cli: Cli) -> None:
    assert cli.run("validate", GOOD).returncode == 0


def test_all_problems_are_reported_in_one_run(cli: Cli) -> None:
    done = cli.run("validate", GOOD.replace("{3: 7}", "{4: 7, 5: 65536}").replace("8: deny", "9: dany"))
    assert len(re.findall(r": error(?:\[[a-z-]+\])?: ", done.stderr)) == 4


@pytest.mark.parametrize(
    ("edit", "line", "says", "hint"),
    [
        ({"file": "nowhere.o"}, 7, "cannot read the object file", "compile it first"),
        ({"file": "legacy"}, 7, "maps in section `maps`", "define them in `.maps`"),
        ({"map": "tenant"}, 10, "object `one` has no map `tenant`", "did you mean `tenants`"),
        ({"program": "frist"}, 8, "object `one` has no program `frist`", "did you mean `first`"),
        ({"map": "declared"}, 4, "differs from the inner map that the object declares", "use the shape of the object"),
    ],
    ids=["missing file", "legacy maps", "unknown map", "unknown program", "template against the object's"],
)
def test_objects_are_checked_without_a_kernel(
    cli: Cli, bpf_object: Callable[[str], Path], edit: dict[str, str], line: int, says: str, hint: str
) -> None:
    fields = {"file": "outers", "map": "tenants", "program": "first", "value": "u32"} | edit
    if "." not in fields["file"]:
        fields["file"] = str(bpf_object(fields["file"]))
    done = cli.run("validate", OBJECT.format(**fields))
    assert done.returncode == 1, done.stderr
    assert f"{cli.spec}:{line}:" in done.stderr
    assert says in done.stderr
    assert hint in done.stderr


def test_a_template_that_the_live_map_does_not_take_is_refused(kernel: Path, tmp_path: Path) -> None:
    cli = Cli(tmp_path, kernel / "edge")
    try:
        assert cli.run("apply", GOOD, "--yes", "--quiet").returncode == 0
        before = sorted(path.name for path in cli.root.iterdir())
        done = cli.run("apply", GOOD.replace("value: u16", "value: u32"), "--yes")
        assert done.returncode == 4
        assert f"{cli.spec}:7:3: error[recreate]: " in done.stderr
        assert "inner maps: value_size 4 in the template, 2 live" in done.stderr
        assert "--allow-recreate" in done.stderr
        assert sorted(path.name for path in cli.root.iterdir()) == before
    finally:
        remove_tree(cli.root)


@pytest.mark.parametrize("verb", ["plan", "apply", "show", "destroy"])
def test_a_pin_root_that_is_on_no_bpffs(cli: Cli, verb: str) -> None:
    done = cli.run(verb, GOOD, *(["--yes"] if verb in ("apply", "destroy") else []))
    assert done.returncode == 5
    assert "not on a bpffs" in done.stderr
    assert "mount -t bpf bpf /sys/fs/bpf" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_pin_root_that_is_the_mount_itself(kernel: Path, tmp_path: Path, verb: str) -> None:
    done = Cli(tmp_path, kernel).run(verb, GOOD, *(["--yes"] if verb == "apply" else []))
    assert done.returncode == 5
    assert "mount point of a bpffs" in done.stderr


def test_a_pin_in_a_directory_whose_name_is_too_long(kernel: Path, tmp_path: Path) -> None:
    spec = GOOD + f"maps: {{m: {{type: hash, key: u32, value: u32, max_entries: 1, pin: {kernel}/{'y' * 300}/m}}}}\n"
    done = Cli(tmp_path, kernel / "edge").run("apply", spec, "--yes")
    assert done.returncode == 5
    assert "error[kernel-refused]: stat: File name too long" in done.stderr


def test_another_user_sees_what_is_missing(kernel: Path, tmp_path: Path) -> None:
    cli = Cli(tmp_path, kernel / "edge")
    cli.root.mkdir()
    try:
        os.chown(cli.root, 65534, 65534)
        cli.spec.write_text(GOOD)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        words = ["apply", "--yes", "--pin-root", str(cli.root), "-"]
        done = subprocess.run([*drop, *COMMAND, *words], input=GOOD, capture_output=True, text=True, cwd="/")
        assert done.returncode == 5, done.stderr
        assert "run as root" in done.stderr
        assert list(cli.root.iterdir()) == []
    finally:
        remove_tree(cli.root)


def test_a_folder_that_this_user_may_not_enter(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(GOOD)
    tmp_path.chmod(0o700)
    done = as_nobody("validate", tmp_path / "edge.yaml", text="", group=65534)
    assert done.status == 1
    assert f"{tmp_path}/edge.yaml: error[unreadable-file]: " in done.err
    assert "Permission denied" in done.err


@pytest.mark.parametrize(("library", "says"), [("nowhere.so", "libbpf"), ("libc.so.6", "bpf_")])
def test_a_libbpf_that_is_missing_or_is_none(kernel: Path, tmp_path: Path, library: str, says: str) -> None:
    cli = Cli(tmp_path, kernel / "edge")
    done = cli.run("apply", GOOD, "--yes", PROVISIONER_LIBBPF=library)
    assert done.returncode == 5
    assert says in done.stderr
    assert "1.1" in done.stderr
    assert not cli.root.exists()
