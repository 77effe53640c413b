"""Inventories: hosts with labels and variables, overlays by pattern, and the errors. Pure, but for files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from provisioner.fleet import layers
from provisioner.fleet.inventory import Inventory, Layer
from provisioner.fleet.reading import read_inventory
from provisioner.model.errors import InputError, Problems


def read(folder: Path, text: str) -> Inventory:
    (folder / "hosts.yaml").write_text(text)
    return read_inventory(str(folder / "hosts.yaml"))


def overlays(inventory: Inventory, number: int = 0) -> list[str]:
    problems = Problems()
    files = layers.files(inventory.layers, inventory.hosts[number], problems)
    problems.raise_if_any()
    return [Path(each.path).name + "?" * each.is_optional for each in files]


def ids(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(folder, text)
    return [f"{problem.where}: {problem.id}".replace(f"{folder}/", "") for problem in caught.value.problems]


def test_labels_are_variables_and_those_of_a_host_win(tmp_path: Path) -> None:
    inventory = read(
        tmp_path,
        "vars: {rate: 1, site: none}\nsnapshot: 's/{host}'\n"
        "hosts:\n  a: {labels: {site: ams}, vars: {rate: 2}}\n  b:\n",
    )
    a, b = inventory.hosts
    assert {name: given.text for name, given in a.variables.items()} == {"host": "a", "site": "none", "rate": "2"}
    assert a.labels == {"host": "a", "site": "ams"}
    assert b.variables["rate"].source == f"vars in {tmp_path}/hosts.yaml"
    assert (a.snapshot, b.snapshot) == (f"{tmp_path}/s/{{host}}",) * 2


def test_overlays_are_chosen_by_pattern_and_label(tmp_path: Path) -> None:
    inventory = read(
        tmp_path,
        "hosts: {a: {labels: {site: ams, role: edge}}, b: {labels: {site: fra}}}\n"
        "overlays: ['{site}.yaml', '{role}.yaml?', {file: 'edge-{host}.yaml', labels: {role: edge}}]\n",
    )
    assert overlays(inventory, 0) == ["ams.yaml", "edge.yaml?", "edge-a.yaml"]
    assert overlays(inventory, 1) == ["fra.yaml"]


@pytest.mark.parametrize(
    ("site", "expected"), [("", "unknown-reference"), ("../x", "invalid-name"), (".x", "invalid-name")]
)
def test_a_label_that_cannot_be_in_a_file_name(tmp_path: Path, site: str, expected: str) -> None:
    labels = f"{{labels: {{site: '{site}'}}}}" if site else "{}"
    inventory = read(tmp_path, f"hosts: {{a: {labels}}}\noverlays: ['sites/{{site}}.yaml']\n")
    problems = Problems()
    assert layers.files(inventory.layers, inventory.hosts[0], problems) == ()
    assert [problem.id for problem in problems] == [expected]


def test_the_variables_of_ansible() -> None:
    data = {
        "_meta": {"hostvars": {"a": {"site": "ams", "rate": 5, "on": True, "list": [1], "no-name": "x"}}},
        "edges": {"hosts": ["a", "b"]},
        "all": {"children": ["edges"]},
    }
    inventory = read_inventory("-", io.StringIO(json.dumps(data)))
    a, b = inventory.hosts
    assert a.labels == {"inventory_hostname": "a", "host": "a", "site": "ams", "rate": "5", "on": "true"}
    assert b.labels == {"inventory_hostname": "b", "host": "b"}
    problems = Problems()
    (file,) = layers.files([Layer.of("h/{inventory_hostname}.yaml?")], a, problems)
    assert (str(file.path), file.is_optional) == ("h/a.yaml", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts: {}\n", ["hosts.yaml:1:8: missing-field"]),
        ("overlays: []\n", ["hosts.yaml:1:1: missing-field"]),
        ("hosts: {a: 1}\n", ["hosts.yaml:1:12: wrong-type"]),
        ("hosts: {a: {label: {}}}\n", ["hosts.yaml:1:13: unknown-field"]),
        ("hosts: {a: {labels: {b-c: 1, d: [1]}}}\n", ["hosts.yaml:1:22: invalid-name", "hosts.yaml:1:33: wrong-type"]),
        ("hosts: {a: }\noverlays: x\n", ["hosts.yaml:2:11: wrong-type"]),
        (
            "hosts: {a: }\noverlays: [{labels: {}}, []]\n",
            ["hosts.yaml:2:12: missing-field", "hosts.yaml:2:26: wrong-type"],
        ),
        ("hosts: {a: , a: }\n", ["hosts.yaml:1:14: duplicate-key"]),
        ("hosts: [\n", ["hosts.yaml:2:1: invalid-yaml"]),
        ("", ["hosts.yaml: empty-file"]),
    ],
)
def test_errors_are_at_their_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert ids(tmp_path, text) == expected


@pytest.mark.parametrize("part", ["[]", '{"a": }'])
def test_an_inventory_of_thousands_of_levels(tmp_path: Path, part: str) -> None:
    (path := tmp_path / "hosts.json").write_text('{"_meta": ' + 5_000 * part[:-1] + "1" + 5_000 * part[-1] + "}")
    with pytest.raises(InputError):
        read_inventory(str(path))


def test_an_inventory_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_inventory(str(tmp_path / "none.yaml"))
    assert caught.value.problems[0].id == "unreadable-file"
