"""Errors about sensitive values show neither the value nor a line of a file, in any format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.desired.loading import SpecError
from provisioner.model import address
from provisioner.model.desired import DesiredState
from provisioner.model.errors import Problem, ProvisionerError
from provisioner.model.host import Host
from provisioner.planning import targets
from provisioner.planning.requested import requested
from provisioner.project.opening import load
from provisioner.report import problems as report
from provisioner.session.addresses import Addresses
from tests.document.support import write

SECRET = "HUNTER"
"""All values of the specs below that nothing may show have this in them."""

TYPES = """\
version: 1
name: edge
types:
  secret: {type: "char[8]", sensitive: true}
  number: {type: u32, sensitive: true}
  hidden: {type: {struct: {a: u32, b: "char[8]"}}, sensitive: true}
  partly: {struct: {user: u32, password: secret}}
  either: {union: {a: u64, b: secret}}
  choice: {type: {enum: {named: 1}}, sensitive: true}
"""
SPEC = """\
inner_templates:
  t: {type: hash, key: KEY, value: VALUE, max_entries: 2}
outer_maps:
  o: {type: hash_of_maps, key: OUTER, max_entries: 2, inner: t, inner_maps: INNER}
"""


def spec(inner: str, *, outer: str = "u32", key: str = "u32", value: str = "u32") -> str:
    return TYPES + SPEC.replace("INNER", inner).replace("OUTER", outer).replace("KEY", key).replace("VALUE", value)


def outputs(folder: Path, files: dict[str, str]) -> tuple[str, tuple[Problem, ...]]:
    """All that the three formats say of the problems of the directory, and the problems."""
    write(folder, files)
    with pytest.raises(SpecError) as caught:
        load([folder], host=Host("little", 2), lookups={})
    problems = caught.value.problems
    lines = caught.value.document.lines([problem.where for problem in problems if problem.where])
    texts = [*report.text(problems, lines), report.as_json(problems), *report.github(problems)]
    return "\n".join(texts), problems


CASES = {
    "value": spec("{1: {entries: {1: HUNTERTOOLONG}}}", value="secret"),
    "number": spec("{1: {entries: {1: 1HUNTER}}}", value="number"),
    "name of an enum": spec("{1: {entries: {1: HUNTERB}}}", value="choice"),
    "member": spec("{1: {entries: {1: {user: 1, password: HUNTERTOOLONG}}}}", value="partly"),
    "beside a member": spec("{1: {entries: {1: {user: x, password: HUNTER}}}}", value="partly"),
    "instead of a member": spec("{1: {entries: {1: {user: 1, HUNTER: x}}}}", value="partly"),
    "instead of a member of a union": spec("{1: {entries: {1: {HUNTER: 1}}}}", value="either"),
    "instead of a member of a key": spec("{1: {entries: [{key: {user: 1, HUNTER: x}, value: 1}]}}", key="partly"),
    "instead of a member of an outer key": spec("[{key: {user: 1, HUNTER: x}}]", outer="partly"),
    "member of a union": spec("{1: {entries: {1: {b: HUNTERTOOLONG}}}}", value="either"),
    "struct": spec("{1: {entries: {1: {a: HUNTER, b: x}, 2: {a: 1, HUNTER: 3}}}}", value="hidden"),
    "scalar for a struct": spec("{1: {entries: {1: HUNTER, 2: [HUNTER]}}}", value="hidden"),
    "key": spec("{1: {entries: {HUNTERTOOLONG: 1}}}", key="secret"),
    "duplicate key": spec("{1: {entries: {HUNTER: 1, 'HUNTER': 2}}}", key="secret"),
    "duplicate key in a list": spec("{1: {entries: [{key: HUNTER, value: 1}, {key: HUNTER, value: 2}]}}", key="secret"),
    "outer key": spec("{HUNTERTOOLONG: {}}", outer="secret"),
    "entry below an outer key": spec("{HUNTER: {entries: {zzz: 1}}}", outer="secret"),
    "field below an outer key": spec("{HUNTER: {bad: 1}}", outer="secret"),
    "no field below an outer key": spec("{HUNTER: 1}", outer="secret"),
    "shared below an outer key": spec("{HUNTER: {shared: none}}", outer="secret"),
    "entries beside shared": spec("{HUNTER: {shared: none, entries: {}}}", outer="secret"),
    "contents below an outer key": spec("{HUNTER: {contents: ignore, entries: {}}}", outer="secret"),
    "max_entries below an outer key": spec("{HUNTER: {max_entries: 0}}", outer="secret"),
    "too many outer keys": spec("[{key: HUNTER1}, {key: HUNTER2}, {key: HUNTER3}]", outer="secret"),
    "duplicate outer key": spec("{HUNTER: {}, HUNTER: {}}", outer="secret"),
    "duplicate outer key in a list": spec("[{key: HUNTER}, {key: HUNTER}]", outer="secret"),
    "range": spec("{HUNTER1..HUNTER2: {}}", outer="secret"),
    "range without an end": spec("{HUNTER..: {}}", outer="secret"),
    "anchor": spec("{1: {entries: {1: *HUNTER}}}", value="secret"),
    "tag": spec("{1: {entries: {1: !HUNTER x}}}", value="secret"),
    "syntax": spec('{1: {entries: {1: "HUNTER\\q"}}}', value="secret"),
    "no YAML": spec("{1: {entries: {1: HUNTER: HUNTER}}}", value="secret"),
}
MOVES = {
    "twice": "[{from: 'o[HUNTER1]', to: 'o[HUNTER]'}, {from: 'o[HUNTER1]', to: 'o[HUNTER]'}]",
    "no address": "[{from: 'o[HUNTER1', to: 'o[HUNTER]'}]",
    "an entry": "[{from: 'o[HUNTER][1]', to: 'o[HUNTER]'}]",
    "unknown maps": "[{from: 'x[HUNTER]', to: 'y[HUNTER]'}]",
    "undeclared": "[{from: 'o[HUNTER1]', to: 'o[HUNTER2]'}]",
    "still declared": "[{from: 'o[HUNTER]', to: 'o[HUNTER2]'}]",
    "too long": "[{from: 'o[HUNTERTOOLONG]', to: 'o[HUNTER]'}]",
    "no YAML": "[{from: 'o[{HUNTER: {]', to: 'o[HUNTER]'}]",
}
CASES |= {f"moved, {name}": f"{spec('{HUNTER: {}}', outer='secret')}moved: {moves}\n" for name, moves in MOVES.items()}
ADDRESSES = (
    *("o[HUNTER][HUNTER]", "o[HUNTERTOOLONG]", "o[HUNTER", "o[HUNTER][1][1]", "o[{HUNTER: {]"),
    *("x[HUNTER]", "x[HUNTER][HUNTER]", "p[HUNTER]", "p[HUNTER][1]", "q[{user: 1, password: HUNTER}]", "q[HUNTER"),
)
TABLES = {
    "too long.csv": "k,v\n1,HUNTERTOOLONG\n",
    "too many fields.csv": "k,v\n1,x,HUNTER\n",
    "open quote.csv": 'k,v\n1,"HUNTER\n',
    "no header.csv": "1,HUNTER\n2,HUNTER\n",
    "duplicate.csv": "k,v\n1,HUNTER\n1,HUNTER\n",
    "too long.ndjson": '{"k": 1, "v": "HUNTERTOOLONG"}\n',
    "list.ndjson": '{"k": 1, "v": ["HUNTER"]}\n',
    "no JSON.ndjson": '{"k": 2, "v": HUNTER}\n',
    "not closed.ndjson": '{"k": 2, "v": "HUNTER\n',
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_an_error_in_a_spec_shows_no_secret(tmp_path: Path, text: str) -> None:
    shown, _ = outputs(tmp_path, {"edge.yaml": text})
    assert SECRET not in shown


def test_names_that_a_partly_sensitive_struct_declares_are_shown(tmp_path: Path) -> None:
    text = spec("{1: {entries: {1: {user: x, passwrd: HUNTER}}}}", value="partly")
    _, found = outputs(tmp_path, {"edge.yaml": text})
    said = {problem.id: str(problem) for problem in found}
    assert set(said) == {"unknown-field", "missing-field", "invalid-number"}
    assert "password" in said["unknown-field"] and "passwrd" not in said["unknown-field"]
    assert "`password`" in said["missing-field"]
    assert "`x`" in said["invalid-number"]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_repeated_without_secret_keys(tmp_path: Path, text: str) -> None:
    shape = "type: hash, value: u32, max_entries: 2"
    plain = f"maps: {{p: {{{shape}, key: secret}}, q: {{{shape}, key: partly}}}}\n"
    write(tmp_path, {"edge.yaml": spec("{HUNTER: {}}", outer="secret", key="secret") + plain})
    desired = load([tmp_path], host=Host("little", 2), lookups={}).desired
    said = [str(error) for ask in ASKED for error in ask(text, desired)]
    assert said
    assert SECRET not in "".join(said)


def targeted(text: str, desired: DesiredState) -> Iterator[Problem | str]:
    """What --target and --replace say of an address."""
    for find_all in (targets.find, requested):
        with pytest.raises(ProvisionerError) as caught:
            find_all([text], desired)
        yield from caught.value.problems


def found(text: str, desired: DesiredState) -> Iterator[Problem | str]:
    """What `show` and `explain` say of it, or how they repeat it."""
    try:
        yield address.find(address.parse(text, desired), desired).address
    except ProvisionerError as error:
        yield from error.problems


def edited(text: str, desired: DesiredState) -> Iterator[Problem | str]:
    """What a session says of it, which knows no map."""
    with pytest.raises(ProvisionerError) as caught:
        Addresses(desired, {}).find(text)
    yield from caught.value.problems


ASKED = (targeted, found, edited)


@pytest.mark.parametrize("name", TABLES)
def test_an_error_in_a_table_shows_no_secret(tmp_path: Path, name: str) -> None:
    entries = f"{{1: {{entries: {{from: '{name}', key: k, value: v}}}}}}"
    shown, problems = outputs(tmp_path, {"edge.yaml": spec(entries, value="secret"), name: TABLES[name]})
    assert SECRET not in shown
    assert all(problem.where and problem.where.line for problem in problems)


def test_two_files_with_one_outer_key_show_no_secret(tmp_path: Path) -> None:
    more = "outer_maps: {o: {inner_maps: {HUNTER: {max_entries: 2}}}}\n"
    shown, (problem,) = outputs(
        tmp_path, {"a.yaml": spec("{HUNTER: {max_entries: 1}}", outer="secret"), "b.yaml": more}
    )
    assert SECRET not in shown
    assert problem.where is not None
    assert problem.where.file.endswith("b.yaml")


def test_a_type_in_another_file_hides_lines_too(tmp_path: Path) -> None:
    head, maps = spec("{1: {entries: {x: HUNTER}}}", value="secret").split("inner_templates:")
    shown, _ = outputs(tmp_path, {"a.yaml": head, "b.yaml": "inner_templates:" + maps})
    assert SECRET not in shown


def test_without_sensitive_types_lines_are_shown(tmp_path: Path) -> None:
    text = "version: 1\nname: edge\nmaps: {m: {type: hash, key: u32, value: u32, max_entries: 1, entries: {1: NO}}}\n"
    shown, _ = outputs(tmp_path, {"edge.yaml": text})
    assert "entries: {1: NO}" in shown
