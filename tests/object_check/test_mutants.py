"""No damaged object ends the process: it is refused, or it is read."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner import object_check
from provisioner.kernel import object_probe, objects
from provisioner.model.errors import InputError
from tests.object_check import reader
from tests.object_check.mutants import section
from tests.problems import raises

ROOT = Path(__file__).parents[2]

OBJECTS = ("all_kinds", "outers", "router", "locked")
FULL = os.environ.get("PROVISIONER_SWEEP") == "full"
MUTANTS = 100_000 if FULL else 5_000
WHOLE = 1 if FULL else 4
"""Of so many mutants, one is read as a user's object is: with a fork before, and a draft after, each of which takes as
long as reading it. A crash of libbpf ends a child in that one, and the process that reads in the others: both are seen.
"""

Compiled = Callable[[str], Path]


def outcomes(source: Path, numbers: range) -> Iterator[tuple[int, str]]:
    """What becomes of each mutant, in child processes: one that ends is replaced by the next."""
    begin = numbers.start
    while begin < numbers.stop:
        words = [str(source), str(begin), str(numbers.stop), str(WHOLE)]
        command = [sys.executable, "-m", "tests.object_check.reader", *words]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # threads make a fork take longer
        first = begin
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            while word := child.stdout.read(4):
                if word == reader.BAD:
                    yield begin - 1, child.stdout.read(reader.WORDS).decode().strip()
                else:
                    begin = struct.unpack("<I", word)[0] + 1
        if child.returncode:
            yield begin - 1, f"ends with status {child.returncode}"
            assert begin > first, "no mutant was read"


@pytest.mark.parametrize("name", OBJECTS)
def test_a_damaged_object_is_refused_or_read(name: str, bpf_object: Compiled) -> None:
    """Each way in which libbpf crashes is known to the checks: the child process that opens objects first survives."""
    bad = list(outcomes(bpf_object(name), range(MUTANTS // len(OBJECTS))))
    assert not bad


def test_each_object_of_the_project_passes(bpf_object: Compiled) -> None:
    for source in sorted((Path(__file__).parents[1] / "bpf").glob("*.bpf.c")):
        object_check.check(bpf_object(source.name.removesuffix(".bpf.c")).read_bytes())


@pytest.fixture
def harmful(bpf_object: Compiled) -> bytes:
    """An object on which libbpf 1.1 crashes: the type of a map does not exist."""
    data = bytearray(bpf_object("outers").read_bytes())
    begin, _ = section(bytes(data), ".BTF")
    header, types, length = struct.unpack_from("<III", data, begin + 4)
    for at in range(begin + header + types, begin + header + types + length, 4):
        info = struct.unpack_from("<I", data, at + 4)[0]
        if info >> 24 == 14:  # BTF_KIND_VAR: the first is a map
            struct.pack_into("<I", data, at + 8, 0x7FFFFFFF)
            return bytes(data)
    raise AssertionError("no map")


def test_a_type_out_of_range_is_named(harmful: bytes) -> None:
    with raises(InputError, "malformed-object") as caught:
        objects.inspect(harmful, "broken.bpf.o")
    assert str(caught.value.problems[0].where) == "broken.bpf.o"
    assert ".BTF" in str(caught.value) and "VAR" in str(caught.value)


def test_a_crash_of_libbpf_ends_only_a_child(
    harmful: bytes, bpf_object: Compiled, capfd: pytest.CaptureFixture[str]
) -> None:
    before = children()
    assert not object_probe.survives(harmful)
    assert object_probe.survives(bpf_object("outers").read_bytes())
    assert object_probe.survives(b"not an object: libbpf says so")
    assert capfd.readouterr() == ("", "")
    assert children() == before, "each was waited for"


def children() -> str:
    """The ids of this process' children, those that ended and were not waited for included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
