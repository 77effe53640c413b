"""The Ansible collection, run by ansible-core on several hosts at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests import command, pages
from tests.integrations.hosts import FOLDER, Host, host

ROOT: Final = Path(__file__).parents[2]
COLLECTION: Final = ROOT / "integrations" / "ansible"
BIN: Final = Path(sys.executable).parent
COMMAND: Final = str(command.CLIENT)

SPEC: Final = """\
version: 1
name: edge
types: {secret: {type: u32, sensitive: true}}
inner_templates:
  rules: {type: hash, key: u32, value: u32, max_entries: 64}
  tokens: {type: hash, key: u32, value: secret, max_entries: 64}
outer_maps:
  tenants:
    {type: hash_of_maps, key: u32, max_entries: 64, inner: rules, inner_maps: {1: {entries: {1: 10}}, 2: {entries: {}}}}
  vault:
    {type: hash_of_maps, key: u32, max_entries: 64, inner: tokens, inner_maps: {1: {entries: {1: 4242}}}}
"""

PROTECTED: Final = """\
  kept: {type: hash_of_maps, key: u32, max_entries: 64, inner: rules, inner_maps: {}, prevent_destroy: true}
"""

SPEC_FILE: Final = f"{FOLDER}/edge.yaml"

TWO: Final = ("edge-1", "edge-3")
"""Two hosts, where one that differs from the others is enough: a module run takes a second of CPU time."""

LIMIT: Final = ("--limit", ",".join(TWO))

Task = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Played:
    """The result of a play: exit status, counts of Ansible by host, and all output."""

    status: int
    recap: dict[str, dict[str, int]]
    output: str

    def hosts(self, count: str) -> set[str]:
        return {name for name, counts in self.recap.items() if counts[count]}


class Fleet:
    """Hosts, and Ansible on their controller."""

    def __init__(self, folder: Path, hosts: dict[str, Host]) -> None:
        self.folder = folder
        self.hosts = hosts
        collections = folder / "ansible_collections" / "bpf"
        collections.mkdir(parents=True)
        (collections / "provisioner").symlink_to(COLLECTION)
        inventory = {name: {"ansible_host": str(host.pid)} for name, host in hosts.items()}
        variables = {
            "ansible_connection": "namespace",
            "ansible_user": "root",  # `become` has nothing to do then
            "ansible_python_interpreter": str(command.MODULE),
            "ansible_remote_tmp": f"{FOLDER}/ansible",
        }
        groups = {"all": {"hosts": inventory, "vars": variables}, "edges": {"hosts": dict.fromkeys(inventory)}}
        (folder / "hosts.yml").write_text(yaml.dump(groups))
        self.environment = os.environ | {
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(folder),
            "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "connection"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_GATHERING": "explicit",  # seconds of CPU time for each host; no test needs facts of hosts
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **command.for_client(),
            **command.for_modules(),
        }

    def play(self, tasks: list[Task], *options: str, **keywords: Any) -> Played:
        """Run tasks on all hosts."""
        return self.run(yaml.dump([{"hosts": "all", "gather_facts": False, "tasks": tasks} | keywords]), *options)

    def run(self, text: str, *options: str) -> Played:
        """Run a playbook."""
        book = self.folder / "play.yml"
        book.write_text(text)
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "--inventory", str(self.folder / "hosts.yml"), str(book), *options],
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        lines = re.findall(r"^(\S+) +: (ok=.*)$", done.stdout, flags=re.MULTILINE)
        recap = {name: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", rest)} for name, rest in lines}
        return Played(done.returncode, recap, done.stdout + done.stderr)

    def write(self, text: str, *names: str, file: str = "edge.yaml") -> None:
        for name in names or self.hosts:
            self.hosts[name].write(file, text)

    def live(self, name: str) -> dict[str, Any]:
        shown = self.hosts[name].run(COMMAND, "show", SPEC_FILE, "--format", "json", "--full")
        document: dict[str, Any] = json.loads(shown.stdout)
        return document

    def entries(self, name: str, *words: str) -> dict[str, dict[str, Any]]:
        """By the address of an inner map: its entries, in the project of files in DEST."""
        shown = self.hosts[name].run(COMMAND, "show", "--format", "json", "--full", *words)
        inner_maps = [inner for live in json.loads(shown.stdout)["maps"] for inner in live["inner_maps"]]
        return {
            inner["address"]: {str(entry["key"]): entry["value"] for entry in inner["entries"]} for inner in inner_maps
        }

    def has_pins(self, name: str) -> bool:
        return self.hosts[name].path("/sys/fs/bpf/edge").exists()


def maps(state: str = "present", **keywords: Any) -> Task:
    """A task that runs the module `maps`."""
    given = {"files": [SPEC_FILE], "executable": COMMAND, "state": state}
    return {"name": "maps", "bpf.provisioner.maps": given} | keywords


def spec(text: str, **keywords: Any) -> Task:
    """A task that puts a spec on the hosts. `copy` would run two modules."""
    return {"name": "spec", "ansible.builtin.raw": f"cat > {SPEC_FILE} <<'END'\n{text}END"} | keywords


def claim(*that: str) -> Task:
    return {"name": "claim", "ansible.builtin.assert": {"that": list(that)}}


def check_and_run(expected: str, state: str = "present") -> list[Task]:
    """Check mode and the run after it report the same, which shows that check mode changes nothing."""
    return [
        maps(state, check_mode=True, register="check"),
        maps(state, register="run"),
        claim(f"check.changed == ({expected})", f"run.changed == ({expected})"),
    ]


@pytest.fixture
def fleet(kernel: Path, tmp_path: Path) -> Iterator[Fleet]:  # noqa: ARG001 (its ledger)
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(host(name)) for name in ("edge-1", "edge-2", "edge-3")}
        yield Fleet(tmp_path, hosts)


def test_check_mode_says_what_a_run_does(fleet: Fleet) -> None:
    """Create the maps, change one host only, and destroy all: on one host before the other."""
    one = "inventory_hostname == 'edge-3'"
    played = fleet.play(
        [
            spec(SPEC),
            *check_and_run("true"),
            spec(SPEC.replace("1: 10", "1: 11"), when=one),
            *check_and_run(one),
            {"name": "facts", "bpf.provisioner.maps_facts": {"files": [SPEC_FILE], "executable": COMMAND}},
            claim(
                "ansible_facts.bpf_maps.edge.maps[0].inner_maps[0].entries[0].value"
                " == (11 if inventory_hostname == 'edge-3' else 10)"
            ),
            maps("absent", when=one),
            *check_and_run(f"not {one}", "absent"),
        ],
        *LIMIT,
    )
    assert (played.status, played.hosts("ok")) == (0, set(TWO)), played.output
    assert not any(fleet.live(name)["exists"] for name in TWO)


def test_a_file_with_the_name_of_an_option_is_a_file(fleet: Fleet) -> None:
    """Files of these names do not exist, so the errors name them. As options they would not fail as files.

    The modules are run as on a host: they import what Ansible packed with them.
    """
    given = {"files": ["--help"], "overlays": ["--force"], "executable": COMMAND}
    kept = {"register": "refused", "ignore_errors": True}
    places = claim("refused.errors | map(attribute='file') | sort == ['--force', '--help']")
    tasks: list[Task] = []
    for module in ("maps", "maps_facts"):
        tasks += [{"name": module, f"bpf.provisioner.{module}": given} | kept, places]
    played = fleet.play(tasks, "--limit", "edge-1", vars={"ansible_python_interpreter": sys.executable})
    assert played.status == 0, played.output


TABLE: Final = SPEC.replace("{entries: {1: 10}}", "{entries: {from: acl.csv, key: key, value: value}}", 1)
DEST: Final = f"{FOLDER}/carried"


def carried(**given: Any) -> Task:
    """A task that applies files of the controller."""
    return {"name": "maps", "bpf.provisioner.maps": {"executable": COMMAND, "dest": DEST} | given}


def both(task: Task, expected: str) -> list[Task]:
    """A task in check mode and then in a run: both report the same."""
    claims = claim(f"check.changed == ({expected})", f"run.changed == ({expected})")
    return [task | {"check_mode": True, "register": "check"}, task | {"register": "run"}, claims]


def test_check_mode_plans_with_the_files_of_the_controller(fleet: Fleet) -> None:
    """A spec, an overlay for each host and a table, which are only on the controller."""
    of_controller(fleet, {"fleet/base.yaml": TABLE, "fleet/acl.csv": "key,value\n1,10\n"})
    for number, name in enumerate(fleet.hosts, start=20):
        overlay = f"outer_maps: {{tenants: {{inner_maps: {{2: {{entries: {{1: {number}}}}}}}}}}}"
        of_controller(fleet, {f"fleet/{name}.yaml": overlay})
    files = {"src": ["fleet/base.yaml"], "overlays_src": ["fleet/{{ inventory_hostname }}.yaml"]}
    task = carried(**files, data_src=["fleet/acl.csv"])

    checked = fleet.play([task], "--check", *LIMIT)
    assert (checked.status, checked.hosts("changed")) == (0, set(TWO)), checked.output
    assert not any(fleet.has_pins(name) or fleet.hosts[name].path(DEST).exists() for name in fleet.hosts)
    played = fleet.play([*both(task, "true"), *both(task, "false")], *LIMIT)
    assert played.status == 0, played.output
    values = [
        fleet.entries(name, f"--overlay={DEST}/{name}.yaml", f"{DEST}/base.yaml") for name in ("edge-1", "edge-3")
    ]
    assert [shown["tenants[2]"] for shown in values] == [{"1": 20}, {"1": 22}]
    assert fleet.hosts["edge-1"].path(f"{DEST}/base.yaml").stat().st_mode & 0o777 == 0o600

    of_controller(fleet, {"fleet/acl.csv": "key,value\n1,11\n", "fleet/edge-3.yaml": "{}"})
    diffed = fleet.play(both(task, "true"), "--diff", *LIMIT)
    assert diffed.status == 0 and "+tenants[1][1]: 11" in diffed.output, diffed.output
    gone = carried(**files, data_src=["fleet/acl.csv"], state="absent")
    one = "inventory_hostname == 'edge-3'"
    ended = fleet.play([gone | {"when": one}, *both(gone, f"not {one}")], *LIMIT)
    assert ended.status == 0, ended.output


def of_controller(fleet: Fleet, files: dict[str, str]) -> None:
    """Files of the controller, by their paths in the directory of the playbook."""
    for name, text in files.items():
        (fleet.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (fleet.folder / name).write_text(text)


def test_files_that_are_invalid_or_refused_are_not_installed(fleet: Fleet) -> None:
    limits = "limits: {delete_percent: 0, at_least: 0}\n"
    first = SPEC + limits
    of_controller(
        fleet,
        {
            "first/base.yaml": first,
            "comment/base.yaml": f"# a comment\n{first}",
            "invalid/base.yaml": SPEC.replace("1: 10", "1: ten"),
            "refused/base.yaml": SPEC.replace("1: {entries: {1: 10}}, ", "") + limits,
        },
    )
    tasks = [carried(src=["first/base.yaml"]), *both(carried(src=["comment/base.yaml"]), "true")]
    for name, place in (("invalid", "base.yaml:9:"), ("refused", "[delete_percent]")):
        for mode in (True, False):
            kept = {"check_mode": mode, "register": "failed", "ignore_errors": True}
            tasks += [carried(src=[f"{name}/base.yaml"]) | kept]
            tasks += [claim("failed is failed", "not failed.changed", f"'{place}' in failed.msg")]
    tasks += both(carried(src=["comment/base.yaml"]), "false")
    played = fleet.play(tasks, "--limit", "edge-1")
    assert played.status == 0, played.output
    assert fleet.hosts["edge-1"].path(f"{DEST}/base.yaml").read_text() == f"# a comment\n{first}"


def test_a_directory_of_the_controller_is_mirrored(fleet: Fleet) -> None:
    """A file that only the host has would be read as part of the spec."""
    base = {"edge/base.yaml": TABLE.replace("acl.csv", "tables/acl.csv"), "edge/tables/acl.csv": "key,value\n1,10\n"}
    more = {"edge/more.yaml": "outer_maps: {tenants: {inner_maps: {9: {entries: {}}}}}"}
    of_controller(fleet, {f"one/{name}": text for name, text in (base | more).items()})
    of_controller(fleet, {f"two/{name}": text for name, text in base.items()})
    tasks = both(carried(src=["one/edge"]), "true") + both(carried(src=["two/edge/"]), "true")
    played = fleet.play(tasks + both(carried(src=["two/edge"]), "false"), "--limit", "edge-1")
    assert played.status == 0, played.output
    installed = fleet.hosts["edge-1"].path(f"{DEST}/edge")
    assert sorted(path.name for path in installed.rglob("*.*")) == ["acl.csv", "base.yaml"]


def test_a_spec_in_the_playbook_as_text_and_as_a_mapping(fleet: Fleet) -> None:
    text = carried(content=SPEC, dest=f"{DEST}/edge.yaml")
    mapping = carried(content=yaml.safe_load(SPEC), dest=f"{DEST}/edge.yaml")
    only_the_file = claim("run.changes == []", "run.files_changed == ['edge.yaml']")
    with_variable = SPEC.replace("1: 10", "1: '${rate}'")
    assert with_variable != SPEC
    variable = carried(content=with_variable, dest=f"{DEST}/edge.yaml", variables={"rate": 10})
    tasks = [*both(text, "true"), *both(text, "false"), *both(mapping, "true"), only_the_file]
    tasks += [*both(variable, "true"), only_the_file]
    played = fleet.play(tasks, "--limit", "edge-1")
    assert played.status == 0, played.output


def test_files_that_do_not_go_together_are_refused(fleet: Fleet) -> None:
    of_controller(fleet, {"base.yaml": SPEC, "site/base.yaml": "{}"})
    wrong: dict[str, dict[str, Any]] = {
        "files of the host": {"src": ["base.yaml"], "files": ["/etc/provisioner"]},
        "exactly one of src and content": {"src": ["base.yaml"], "content": "version: 1"},
        "exactly one of src and content is": {"overlays_src": ["base.yaml"]},
        "the name base.yaml on the host": {"src": ["base.yaml"], "overlays_src": ["site/base.yaml"]},
        "missing.yaml": {"src": ["missing.yaml"]},
        "content requires dest": {"content": "version: 1", "dest": ""},
        "one of files, src and content": {"dest": ""},
    }
    tasks = []
    for message, given in wrong.items():
        kept = {"register": "failed", "ignore_errors": True}
        tasks += [carried(**given) | kept, claim("failed is failed", f"'{message}' in failed.msg")]
    played = fleet.play(tasks, "--limit", "edge-1")
    assert played.status == 0 and "Traceback" not in played.output, played.output
    assert not fleet.has_pins("edge-1")


def test_facts_of_one_address_and_without_entries(fleet: Fleet) -> None:
    given = {"files": [SPEC_FILE], "executable": COMMAND}

    def facts(**more: Any) -> Task:
        return {"name": "facts", "bpf.provisioner.maps_facts": given | more}

    live = "ansible_facts.bpf_maps.edge.maps"
    played = fleet.play(
        [
            spec(SPEC),
            maps(),
            facts(entries=False),
            claim(
                f"{live}[0].inner_maps | map(attribute='count') == [1, 0]", f"'entries' not in {live}[0].inner_maps[0]"
            ),
            facts(address="tenants[1]"),
            claim(f"{live} | length == 1", f"{live}[0].inner_maps | map(attribute='key') == [1]"),
        ],
        *("--limit", "edge-1"),
    )
    assert played.status == 0, played.output


def test_a_rolling_change_stops_at_the_host_that_fails(fleet: Fleet) -> None:
    fleet.write(SPEC)
    fleet.write(SPEC.replace("1: 10", "1: ten"), "edge-2")
    rolling = {"serial": 1, "max_fail_percentage": 0}
    first = fleet.play([maps()], **rolling)
    assert first.status != 0
    assert (first.hosts("changed"), first.hosts("failed")) == ({"edge-1"}, {"edge-2"})
    assert f"{SPEC_FILE}:9:" in first.output and "ten" in first.output
    assert not fleet.live("edge-3")["exists"], "the next hosts wait for it"
    fleet.write(SPEC, "edge-2")
    again = fleet.play([maps()], **rolling)
    assert (again.status, again.hosts("changed")) == (0, {"edge-2", "edge-3"})


def test_the_play_of_the_guide(fleet: Fleet) -> None:
    """Host by host, each with its own overlay. The last host does not start if the one before it fails."""
    (play,) = pages.fences(__file__, "roll-out.md")
    book = play.text.replace("/etc/provisioner", FOLDER)
    overlay = "outer_maps: {tenants: {inner_maps: {1: {entries: {1: WEIGHT}}}}}"
    fleet.write(SPEC, file="base.yaml")
    for number, name in enumerate(fleet.hosts, start=20):
        fleet.write(overlay.replace("WEIGHT", str(number)), name, file=f"{name}.yaml")
    fleet.write(overlay.replace("WEIGHT", "ten"), "edge-2", file="edge-2.yaml")
    first = fleet.run(book)
    assert (first.hosts("changed"), first.hosts("failed")) == ({"edge-1"}, {"edge-2"}), first.output
    assert f"{FOLDER}/edge-2.yaml:1:" in first.output
    fleet.write(overlay.replace("WEIGHT", "21"), "edge-2", file="edge-2.yaml")
    again = fleet.run(book)
    assert (again.status, again.hosts("changed")) == (0, {"edge-2", "edge-3"}), again.output
    fleet.write(SPEC)
    for number, name in enumerate(fleet.hosts, start=20):
        assert fleet.live(name)["maps"][0]["inner_maps"][0]["entries"][0]["value"] == number


def test_diff_refusals_and_drift(fleet: Fleet) -> None:
    fleet.write(SPEC)
    first = fleet.play([maps()], "--diff", "--limit", "edge-1").output
    assert "+tenants[1][1]: 10\n" in first and "(sensitive)" in first and "4242" not in first
    refused = {"ignore_errors": True, "register": "refused"}
    claims = claim(
        "refused is failed",
        "refused.errors[0].id == 'prevent_destroy'",
        "'prevent_destroy' in refused.msg",
        "not refused.changed",
    )
    then = fleet.play(
        [
            spec(SPEC.replace("1: 10", "1: 11") + PROTECTED, diff=False),
            maps(),
            # What a rule refuses fails in check mode too, and changes nothing.
            maps("absent", check_mode=True, **refused),
            claims,
            maps("absent", **refused),
            claims,
            maps(register="unharmed"),
            claim("not unharmed.changed"),
            {"name": "drift", "ansible.builtin.command": "rm /sys/fs/bpf/edge/tenants", "changed_when": False},
            maps(register="healed"),
            claim("healed.changed", "healed.result.status == 'applied'"),
        ],
        *("--diff", "--limit", "edge-1"),
    )
    assert then.status == 0, then.output
    assert "-tenants[1][1]: 10\n" in then.output and "+tenants[1][1]: 11\n" in then.output


def test_the_documentation_is_what_ansible_reads(tmp_path: Path) -> None:
    (tmp_path / "ansible_collections" / "bpf").mkdir(parents=True)
    (tmp_path / "ansible_collections" / "bpf" / "provisioner").symlink_to(COLLECTION)
    environment = os.environ | {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    ask = [str(BIN / "ansible-doc"), "--json", "bpf.provisioner.maps", "bpf.provisioner.maps_facts"]
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=True)
    for name, described in json.loads(done.stdout).items():
        for task in yaml.safe_load(described["examples"]):
            given = task.get(name, {})
            assert set(given) <= set(described["doc"]["options"])


def test_the_collection_builds_and_its_yaml_is_tidy(tmp_path: Path) -> None:
    build = [str(BIN / "ansible-galaxy"), "collection", "build", str(COLLECTION), "--output-path", str(tmp_path)]
    subprocess.run(build, env=os.environ | {"ANSIBLE_HOME": str(tmp_path)}, check=True, capture_output=True)
    import provisioner

    with tarfile.open(tmp_path / f"bpf-provisioner-{provisioner.__version__}.tar.gz") as built:
        unit = built.extractfile("roles/provisioner/files/provisioner-watch@.service")
        assert unit is not None and b"ExecStart=" in unit.read(), "a file in the archive, a link in the tree"
    rules = "{extends: default, rules: {line-length: {max: 120}, truthy: {check-keys: false}}}"
    subprocess.run([str(BIN / "yamllint"), "--strict", "-d", rules, str(COLLECTION)], check=True)
