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

from tests import pages
from tests.integrations.hosts import FOLDER, Host, host

ROOT: Final = Path(__file__).parents[2]
COLLECTION: Final = ROOT / "integrations" / "ansible"
BIN: Final = Path(sys.executable).parent
COMMAND: Final = str(BIN / "provisioner")

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

Task = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Played:
    """How a play ended: Ansible's counts by host, and all that it said."""

    status: int
    recap: dict[str, dict[str, int]]
    said: str

    def hosts(self, count: str) -> set[str]:
        return {name for name, counts in self.recap.items() if counts[count]}


class Fleet:
    """Hosts, and Ansible beside them."""

    def __init__(self, folder: Path, hosts: dict[str, Host]) -> None:
        self.folder = folder
        self.hosts = hosts
        collections = folder / "ansible_collections" / "bpf"
        collections.mkdir(parents=True)
        (collections / "provisioner").symlink_to(COLLECTION)
        inventory = {name: {"ansible_host": str(one.pid)} for name, one in hosts.items()}
        variables = {
            "ansible_connection": "namespace",
            "ansible_user": "root",  # so that `become` has nothing to do
            "ansible_python_interpreter": sys.executable,
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
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{BIN}:{os.environ['PATH']}",
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


def maps(state: str = "present", **keywords: Any) -> Task:
    """A task that runs the module `maps`."""
    given = {"files": [SPEC_FILE], "executable": COMMAND, "state": state}
    return {"name": "maps", "bpf.provisioner.maps": given} | keywords


def spec(text: str, **keywords: Any) -> Task:
    """A task that puts a spec on the hosts."""
    return {"name": "spec", "ansible.builtin.copy": {"content": text, "dest": SPEC_FILE, "mode": "0600"}} | keywords


def claim(*that: str) -> Task:
    return {"name": "claim", "ansible.builtin.assert": {"that": list(that)}}


def check_and_run(expected: str, state: str = "present") -> list[Task]:
    """Check mode and the run after it say the same: as the run still finds it to do, check has not done it."""
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
    """From nothing to the maps, through a change that only one host has, and back to nothing."""
    played = fleet.play(
        [
            spec(SPEC),
            *check_and_run("true"),
            *check_and_run("false"),
            spec(SPEC.replace("1: 10", "1: 11"), when="inventory_hostname == 'edge-3'"),
            *check_and_run("inventory_hostname == 'edge-3'"),
            {"name": "facts", "bpf.provisioner.maps_facts": {"files": [SPEC_FILE], "executable": COMMAND}},
            claim(
                "ansible_facts.bpf_maps.edge.maps[0].inner_maps[0].entries[0].value"
                " == (11 if inventory_hostname == 'edge-3' else 10)"
            ),
            *check_and_run("true", "absent"),
            *check_and_run("false", "absent"),
        ]
    )
    assert (played.status, played.hosts("ok")) == (0, set(fleet.hosts)), played.said
    assert not any(fleet.live(name)["exists"] for name in fleet.hosts)


def test_a_file_with_the_name_of_an_option_is_a_file(fleet: Fleet) -> None:
    """Files of these names do not exist here: as options they would do something else than fail as files."""
    given = {"files": ["--help"], "overlays": ["--force"], "executable": COMMAND}
    kept = {"register": "refused", "ignore_errors": True}
    places = claim("refused.errors | map(attribute='file') | sort == ['--force', '--help']")
    tasks: list[Task] = []
    for module in ("maps", "maps_facts"):
        tasks += [{"name": module, f"bpf.provisioner.{module}": given} | kept, places]
    played = fleet.play(tasks, "--limit", "edge-1")
    assert played.status == 0, played.said


def test_a_rolling_change_stops_at_the_host_that_fails(fleet: Fleet) -> None:
    fleet.write(SPEC)
    fleet.write(SPEC.replace("1: 10", "1: ten"), "edge-2")
    rolling = {"serial": 1, "max_fail_percentage": 0}
    first = fleet.play([maps()], **rolling)
    assert first.status != 0
    assert (first.hosts("changed"), first.hosts("failed")) == ({"edge-1"}, {"edge-2"})
    assert f"{SPEC_FILE}:9:" in first.said and "ten" in first.said
    assert not fleet.live("edge-3")["exists"], "the next hosts wait for it"
    fleet.write(SPEC, "edge-2")
    again = fleet.play([maps()], **rolling)
    assert (again.status, again.hosts("changed")) == (0, {"edge-2", "edge-3"})


def test_the_play_of_the_guide(fleet: Fleet) -> None:
    """Host by host, each with its own overlay; the last one does not begin when the one before it fails."""
    (play,) = pages.fences(__file__, "roll-out.md")
    book = play.text.replace("/etc/provisioner", FOLDER)
    overlay = "outer_maps: {tenants: {inner_maps: {1: {entries: {1: WEIGHT}}}}}"
    fleet.write(SPEC, file="base.yaml")
    for number, name in enumerate(fleet.hosts, start=20):
        fleet.write(overlay.replace("WEIGHT", str(number)), name, file=f"{name}.yaml")
    fleet.write(overlay.replace("WEIGHT", "ten"), "edge-2", file="edge-2.yaml")
    first = fleet.run(book)
    assert (first.hosts("changed"), first.hosts("failed")) == ({"edge-1"}, {"edge-2"}), first.said
    assert f"{FOLDER}/edge-2.yaml:1:" in first.said
    fleet.write(overlay.replace("WEIGHT", "21"), "edge-2", file="edge-2.yaml")
    again = fleet.run(book)
    assert (again.status, again.hosts("changed")) == (0, {"edge-2", "edge-3"}), again.said
    fleet.write(SPEC)
    for number, name in enumerate(fleet.hosts, start=20):
        assert fleet.live(name)["maps"][0]["inner_maps"][0]["entries"][0]["value"] == number


def test_diff_refusals_and_drift(fleet: Fleet) -> None:
    fleet.write(SPEC)
    first = fleet.play([maps()], "--diff", "--limit", "edge-1").said
    assert "+tenants[1][1]: 10\n" in first and "(sensitive)" in first and "4242" not in first
    refused = {"ignore_errors": True, "register": "refused"}
    claims = claim("refused is failed", "'prevent_destroy' in refused.msg", "not refused.changed")
    then = fleet.play(
        [
            spec(SPEC.replace("1: 10", "1: 11") + PROTECTED, diff=False),
            maps(),
            # What a rule refuses fails in check mode as well, and leaves all as it is.
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
    assert then.status == 0, then.said
    assert "-tenants[1][1]: 10\n" in then.said and "+tenants[1][1]: 11\n" in then.said


def test_the_documentation_is_what_ansible_reads(tmp_path: Path) -> None:
    (tmp_path / "ansible_collections" / "bpf").mkdir(parents=True)
    (tmp_path / "ansible_collections" / "bpf" / "provisioner").symlink_to(COLLECTION)
    environment = os.environ | {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    ask = [str(BIN / "ansible-doc"), "--json", "bpf.provisioner.maps", "bpf.provisioner.maps_facts"]
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=True)
    for name, told in json.loads(done.stdout).items():
        for task in yaml.safe_load(told["examples"]):
            given = task.get(name, {})
            assert set(given) <= set(told["doc"]["options"])


def test_the_collection_builds_and_its_yaml_is_tidy(tmp_path: Path) -> None:
    build = [str(BIN / "ansible-galaxy"), "collection", "build", str(COLLECTION), "--output-path", str(tmp_path)]
    subprocess.run(build, env=os.environ | {"ANSIBLE_HOME": str(tmp_path)}, check=True, capture_output=True)
    import provisioner

    with tarfile.open(tmp_path / f"bpf-provisioner-{provisioner.__version__}.tar.gz") as built:
        unit = built.extractfile("roles/provisioner/files/provisioner-watch@.service")
        assert unit is not None and b"ExecStart=" in unit.read(), "a file in there, a link in the tree"
    rules = "{extends: default, rules: {line-length: {max: 120}, truthy: {check-keys: false}}}"
    subprocess.run([str(BIN / "yamllint"), "--strict", "-d", rules, str(COLLECTION)], check=True)
