"""No damaged object ends the process: it is refused, or it is read."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner import object_check
from provisioner.adopt.skeleton import skeleton
from provisioner.kernel import libbpf, object_probe, objects
from provisioner.model.errors import InputError
from tests.object_check.mutants import Mutants, section

OBJECTS = ("all_kinds", "outers", "router", "locked")
FULL = os.environ.get("PROVISIONER_SWEEP") == "full"
MUTANTS = 100_000 if FULL else 5_000
WRITTEN = 1 if FULL else 4
"""Of so many mutants, the draft of one is written: that takes as long as reading it, and no library is involved."""

Compiled = Callable[[str], Path]


def outcome(data: bytes, *, written: bool) -> str:
    """How `init` ends that is given an object: in words that are the same for all good ends."""
    try:
        info = objects.inspect(data)
        if written:
            skeleton(info, "object")
    except InputError as error:
        return "libbpf crashes" if "libbpf crashes" in str(error) else "done"
    except Exception as error:
        return repr(error)
    return "done"


def outcomes(mutants: Mutants, numbers: range) -> Iterator[tuple[int, str]]:
    """What becomes of each mutant, in child processes: one that ends is replaced by the next."""
    begin = numbers.start
    while begin < numbers.stop:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for number in range(begin, numbers.stop):
                    os.write(write_end, struct.pack("<I", number))
                    if (end := outcome(mutants.make(number), written=number % WRITTEN == 0)) != "done":
                        os.write(write_end, struct.pack("<I", 0xFFFFFFFF))
                        os.write(write_end, end.encode()[:80].ljust(80))
            finally:
                os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as answers:
            while word := answers.read(4):
                if word == b"\xff" * 4:
                    yield begin - 1, answers.read(80).decode().strip()
                else:
                    begin = struct.unpack("<I", word)[0] + 1
        _, status = os.waitpid(child, 0)
        if status:
            yield begin - 1, f"ends with status {status}"


@pytest.mark.parametrize("name", OBJECTS)
def test_a_damaged_object_is_refused_or_read(name: str, bpf_object: Compiled) -> None:
    """Each way in which libbpf crashes is known to the checks: the child process that opens objects first survives."""
    libbpf.version()
    mutants = Mutants(bpf_object(name).read_bytes())
    bad = list(outcomes(mutants, range(MUTANTS // len(OBJECTS))))
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
    with pytest.raises(InputError, match=r"malformed object: type \d+ of `.BTF` \(VAR\): what it refers to") as caught:
        objects.inspect(harmful, "broken.bpf.o")
    assert str(caught.value.problems[0].where) == "broken.bpf.o"


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
