"""The ledger reports what a test leaves behind, and only that: a test of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.host import ifindex
from provisioner.model.attachment import CreateLink
from provisioner.model.uapi import AttachType
from tests import ledger, recorder
from tests.conftest import Veth
from tests.kernel.shapes import ARRAY, HASH

Compile = Callable[[str], Path]
Leak = Callable[[Compile, Path], AbstractContextManager[str]]


def test_an_open_map_and_a_pin_are_named(pin_root: Path, bpffs_mount: Path) -> None:
    before = ledger.take(bpffs_mount)
    with maps.create(HASH, "forgotten") as fd:
        bpffs.pin(fd, pin_root / "map")
        number = maps.info(fd).id
        assert ledger.left_over(before, bpffs_mount, patience=0) == [
            f"fd {fd.number}: anon_inode:bpf-map",
            f"pin {pin_root / 'map'}",
            f"map id {number} (hash `forgotten`)",
        ]
    bpffs.unpin(pin_root / "map")
    assert ledger.left_over(before, bpffs_mount) == []


@contextmanager
def leaked_fd(_: Compile, root: Path) -> Iterator[str]:
    number = os.open(root, os.O_RDONLY)
    yield f"fd {number}: {root}"
    os.close(number)


@contextmanager
def leaked_map(_: Compile, root: Path) -> Iterator[str]:  # noqa: ARG001
    with maps.create(HASH, "forgotten") as fd:
        yield f"map id {maps.info(fd).id} (hash `forgotten`)"


@contextmanager
def leaked_program(compiled: Compile, root: Path) -> Iterator[str]:  # noqa: ARG001
    with objects.load(compiled("outers"), inner_templates={"tenants": ARRAY}) as loaded:
        yield f"prog id {links.program_info(loaded.programs['first']).id}"


@contextmanager
def leaked_link(compiled: Compile, root: Path) -> Iterator[str]:  # noqa: ARG001
    with (
        objects.load(compiled("outers"), inner_templates={"tenants": ARRAY}) as loaded,
        links.create(loaded.programs["first"], CreateLink(AttachType.XDP), ifindex("veth-a")) as link,
    ):
        yield f"link id {links.info(link).id}"


@contextmanager
def leaked_pin(_: Compile, root: Path) -> Iterator[str]:
    """By bpftool, a child that is not ours: the map that it creates is left too."""
    shape = ("type", "hash", "key", "4", "value", "8", "entries", "16", "name", "forgotten")
    subprocess.run(["bpftool", "map", "create", str(root / "pin"), *shape], check=True)
    yield f"pin {root / 'pin'}"
    bpffs.unpin(root / "pin")


_CHILD = """
import sys
from pathlib import Path
from tests.kernel import test_ledger
with getattr(test_ledger, sys.argv[1])(lambda name: Path(sys.argv[2]), Path()) as left:
    print(left, flush=True)
    sys.stdin.read()
"""


def by_child(leak: Leak) -> Leak:
    """The same leak in a child process, which lives on."""

    @contextmanager
    def leaked(compiled: Compile, _: Path) -> Iterator[str]:
        words = [sys.executable, "-c", _CHILD, leak.__name__, str(compiled("outers"))]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            yield line_of(child.stdout)
            child.communicate("")

    return leaked


LEAKS: dict[str, Leak] = {
    "fd": leaked_fd,
    "map": leaked_map,
    "program": leaked_program,
    "link": leaked_link,
    "pin": leaked_pin,
    "map-by-child": by_child(leaked_map),
    "program-by-child": by_child(leaked_program),
    "link-by-child": by_child(leaked_link),
}


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return line_of(process.stdout)


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    assert line, "the process ended early"
    return line.strip()


@pytest.fixture(scope="module")
def next_round(bpf_object: Compile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Another BPF user, in namespaces of its own and unrecorded; the function waits until it has completed a round."""
    words = ("unshare", "--mount", "--net", "--propagation", "private", sys.executable, "-m", "tests.kernel.other_user")
    where = (str(bpf_object("outers")), str(tmp_path_factory.mktemp("other")))
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    with subprocess.Popen(
        [*words, *where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        yield lambda: answer(other)
        other.communicate("")


def test_what_another_process_creates_and_removes_does_not_count(
    next_round: Callable[[], str], bpffs_mount: Path
) -> None:
    before, listed = ledger.take(bpffs_mount), set(maps.map_ids())
    for _ in range(3):
        next_round()
        assert ledger.left_over(before, bpffs_mount, patience=0) == []
    assert set(maps.map_ids()) - listed, "the other process does create maps"


@pytest.mark.parametrize("kind", LEAKS)
def test_each_kind_of_leak_is_reported_amid_other_users(
    kind: str, next_round: Callable[[], str], bpf_object: Compile, pin_root: Path, bpffs_mount: Path, veth: Veth
) -> None:
    assert veth.name == "veth-a"
    before = ledger.take(bpffs_mount)
    with LEAKS[kind](bpf_object, pin_root) as expected:
        next_round()
        left = ledger.left_over(before, bpffs_mount, patience=0)
        assert expected in left
        assert {words for words in left if "`others`" in words} == set()
    assert ledger.left_over(before, bpffs_mount) == []


def test_maps_are_counted_that_were_created_here(next_round: Callable[[], str]) -> None:
    mark = recorder.count()
    with ExitStack() as stack:
        created = {maps.info(stack.enter_context(maps.create(HASH))).id for _ in range(2)}
        next_round()
        assert ledger.new_maps(mark, 2) == created
    next_round()
    assert ledger.new_maps(mark, 0) == set()
