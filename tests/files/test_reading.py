"""Every file that a user names is a regular file of limited size, inside the project; all else is an error at once."""

from __future__ import annotations

import ast
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import provisioner
from provisioner import InputError, load, read_snapshot
from provisioner.cli import saved
from provisioner.files import beneath, reading
from provisioner.files.reading import PLAN, SPEC, VARIABLE, InputFile
from provisioner.kernel import objects
from tests.problems import raises, raises_errno

MAPS = "version: 1\nname: edge\nmaps: {{m: {{type: hash, key: u32, value: u32, max_entries: 8, entries: {entries}}}}}\n"
TABLE = "{{from: {name}, key: k, value: v}}"


def spec(folder: Path, entries: str = "{1: 1}", more: str = "") -> Path:
    path = folder / "spec.yaml"
    path.write_text(MAPS.format(entries=entries) + more)
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "spec": lambda path: load([path]),
    "include": lambda path: load([spec(path.parent, more=f"include: [{path.name}]\n")]),
    "overlay": lambda path: load([spec(path.parent)], overlays=[path]),
    "csv": lambda path: load([spec(path.parent, f"{{from: {path.name}, key: k, value: v, format: csv}}")]),
    "ndjson": lambda path: load([spec(path.parent, f"{{from: {path.name}, key: k, value: v, format: ndjson}}")]),
    "parquet": lambda path: load([spec(path.parent, f"{{from: {path.name}, key: k, value: v, format: parquet}}")]),
    "raw": lambda path: load([spec(path.parent, f"{{1: {{from: {path.name}, format: raw}}}}")]),
    "object": lambda path: load([spec(path.parent, more=f"objects: {{o: {{file: {path.name}, programs: {{}}}}}}\n")]),
    "object itself": objects.inspect,
    "snapshot": read_snapshot,
    "plan": saved.read,
}


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero


def directory(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 100 << 30)


def link_loop(path: Path) -> None:
    path.symlink_to(path)


OTHERS: dict[Callable[[Path], None], str] = {
    fifo: "it is a FIFO, not a regular file",
    device: "it is a character device, not a regular file",
    directory: "it is a directory, not a regular file",
    unix_socket: "it is a socket, not a regular file",
    link_loop: "Too many levels of symbolic links",
    sparse: "it has 107,374,182,400 bytes, the limit for",
}


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    """A read that blocks is a failure, not the end of all tests."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_of_a_limited_size_are_read(
    reader: str, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "input"
    make(path)
    if make is directory and reader in ("spec", "include", "overlay"):
        return  # its files are read
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert [problem.what for problem in caught.value.problems if OTHERS[make] in problem.what]
    assert all(problem.where for problem in caught.value.problems)


def test_a_file_of_the_kernel_has_no_end(tmp_path: Path) -> None:
    with raises_errno(errno.EINVAL):
        InputFile(Path("/proc/self/status"), SPEC).open()
    (tmp_path / "empty").touch()
    assert InputFile(tmp_path / "empty", SPEC).read() == b""


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.o"
    path.write_bytes(bytes(1001))
    monkeypatch.setenv(VARIABLE, "1000")
    with raises(InputError, "unreadable-file") as caught:
        objects.inspect(path)
    assert VARIABLE in str(caught.value)
    monkeypatch.setenv(VARIABLE, "1001")
    with raises(InputError, "malformed-object"):
        objects.inspect(path)


def test_standard_input_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1000")
    with Path("/dev/zero").open() as endless, raises(InputError, "unreadable-file", "empty-file") as caught:
        load(["-"], stdin=endless)
    assert str(caught.value.problems[0].where) == "<stdin>"


@pytest.mark.parametrize("name", ["t.csv", "t.ndjson"])
@pytest.mark.parametrize("head", [b"k,v\n1,1\n", b'"k",v\n1,1\n', b'{"k": 1, "v": 1}\n'])
def test_a_line_of_a_table_has_a_limit(name: str, head: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(head)
    os.truncate(tmp_path / name, 40 << 20)
    with pytest.raises(InputError):
        load([spec(tmp_path, TABLE.format(name=name).replace("{{", "{").replace("}}", "}"))])


@pytest.fixture
def flipping(tmp_path: Path) -> Iterator[Path]:
    """A link that leads in turn to a file of the project and to one outside, changed by another process."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "inside.csv").write_text("k,v\n1,1\n")
    (tmp_path / "secret.csv").write_text("k,v\n6,6\n")
    link = tmp_path / "project" / "t.csv"
    link.symlink_to("inside.csv")
    child = os.fork()
    if child == 0:
        other = link.with_name("other")
        for number in range(1 << 40):
            os.symlink(("../secret.csv", "inside.csv")[number % 2], other)
            os.rename(other, link)
    yield link
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _no_openat2(*_: object) -> int:
    raise OSError(errno.ENOSYS, "a kernel before 5.6")


@pytest.mark.parametrize("kernel", ["with openat2", "before openat2"])
def test_no_link_leads_out_of_the_project(kernel: str, flipping: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "before openat2":
        monkeypatch.setattr(beneath, "_openat2", _no_openat2)
    assert set(_outcomes(InputFile(flipping, PLAN, (flipping.parent,)))) == {b"k,v\n1,1\n", errno.EXDEV}


def _outcomes(file: InputFile) -> Iterator[bytes | int | None]:
    for _ in range(3_000):
        try:
            yield file.read()
        except OSError as error:
            yield error.errno


def test_a_link_inside_the_project_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("text")
    (tmp_path / "absolute").symlink_to(tmp_path / "a" / "file")
    (tmp_path / "relative").symlink_to("a/../a/file")
    for name in ("absolute", "relative"):
        assert InputFile(tmp_path / name, SPEC, (tmp_path.resolve(),)).read() == b"text"
    for outside in (Path("/etc/passwd"), tmp_path / "a" / ".." / ".." / ".." / "etc"):
        with raises_errno(errno.EXDEV if outside.exists() else errno.ENOENT):
            InputFile(outside, SPEC, (tmp_path.resolve(),)).open()


OF_THE_KERNEL = {
    "apply/audit.py",
    "doctor/attachments.py",
    "doctor/checks.py",
    "doctor/kernel_config.py",
    "kernel/attach_points.py",
    "kernel/cpus.py",
    "kernel/btf_names.py",
    "kernel/host.py",
    "kernel/locking.py",
    "kernel/maps.py",
    "kernel/memory.py",
    "kernel/mounts.py",
    "kernel/multi_links.py",
    "kernel/perf_events.py",
    "kernel/vmlinux.py",
}
"""Modules that read fixed files of the kernel, in /proc, /sys and /boot."""

OUTPUT = {
    *("cli/streams.py", "files/writing.py"),
    *("kernel/object_probe.py", "language/schema_file.py"),
}
"""Modules that open what they write, a pipe of their own, or a file of the package."""

OTHERS_OPEN = {
    *("observed/filter_pins.py", "observed/metamap.py"),  # the text in a map
    "kernel/function_offsets.py",  # executables of the host; it accepts regular files only
}
"""Modules that open something else than a file of the project."""

OPENERS = {
    "get_data",
    "open",
    "read_bytes",
    "read_text",
    "fdopen",
    "ParquetFile",
    "memory_map",
    "fromfile",
    "memmap",
    "loadtxt",
}


def _opens(module: Path) -> bool:
    """Whether it calls something that opens a file by its name."""
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in OPENERS:
                return True
            case ast.Attribute(attr="open", value=ast.Name(id="os" | "io" | "gzip" | "lzma" | "bz2")):
                return True
            case ast.Attribute(attr="open") if node.args and isinstance(node.args[0], ast.Constant):
                return True
            case ast.Attribute(attr="ZipFile" | "ParquetFile") if node.args and ast.unparse(node.args[0]) == "path":
                return True
            case ast.Attribute(attr=name) if name in OPENERS - {"open", "ParquetFile"}:
                return True
    return False


def test_no_other_module_opens_files() -> None:
    package = Path(provisioner.__file__).parent
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py") if _opens(path)}
    assert modules >= OUTPUT, "what opens nothing is not on the list"
    assert modules - OF_THE_KERNEL - OUTPUT - OTHERS_OPEN == {"files/beneath.py", "files/reading.py"}


def test_a_denied_file_says_where_to_look(tmp_path: Path) -> None:
    path = tmp_path / "a b.yaml"
    hint = reading.hint_of(PermissionError(errno.EACCES, "Permission denied"), path)
    assert hint == f"check the owner and mode of the file and of its directories: `namei -l '{path}'`"
    assert reading.hint_of(OSError(errno.EIO, "Input/output error"), path) == ""
    path.symlink_to("gone")
    assert reading.hint_of(FileNotFoundError(errno.ENOENT, ""), path) == "it is a link to gone, which does not exist"
