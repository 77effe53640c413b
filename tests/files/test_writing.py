"""What is written appears whole, for its owner only, and follows no link of another user."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.files.writing import write_file, write_new
from tests.problems import raises_errno

SCRIPT = "import sys; from pathlib import Path; from provisioner.files.writing import write_file\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[None]:
    """The widest."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    write_file(path, b"one")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, names(tmp_path)) == (b"one", 0o600, ["plan"])
    path.chmod(0o666)
    write_file(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, names(tmp_path)) == (b"two", 0o600, ["plan"])


def test_a_link_in_its_place_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("of root")
    path = tmp_path / "plan"
    path.symlink_to(victim)
    for _ in range(2):
        write_file(path, b"data")
        assert (victim.read_text(), path.read_bytes(), path.is_symlink()) == ("of root", b"data", False)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    write_file(path, b"data")
    assert (path.read_bytes(), (tmp_path / "nowhere").exists()) == (b"data", False)


def test_the_name_that_it_is_written_under_cannot_be_prepared(tmp_path: Path) -> None:
    """A link at the name of a temporary file led to another file."""
    victim = tmp_path / "victim"
    victim.write_text("of root")
    path = tmp_path / "plan"
    for number in range(os.getpid() - 5, os.getpid() + 5):
        (tmp_path / f".plan.{number}").symlink_to(victim)
    write_file(path, b"data")
    assert (victim.read_text(), path.read_bytes()) == ("of root", b"data")


def test_a_link_of_another_user_to_a_device_is_replaced(tmp_path: Path) -> None:
    """Root would write over a disk, or wait for a reader of a FIFO for ever."""
    os.mkfifo(tmp_path / "fifo")
    for target in ("/dev/null", tmp_path / "fifo"):
        path = tmp_path / "plan"
        path.symlink_to(target)
        os.chown(path, 65534, 65534, follow_symlinks=False)
        write_file(path, b"data")
        assert (path.is_symlink(), path.read_bytes()) == (False, b"data")
        path.unlink()


def test_a_fifo_without_a_reader_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with raises_errno(errno.ENXIO):
        write_file(tmp_path / "fifo", b"data")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "fifo", b"data")
    assert os.read(reader, 10) == b"data"
    os.close(reader)


@pytest.mark.usefixtures("umask")
def test_a_file_for_others_has_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    write_file(tmp_path / "edge.prom", b"data", mode=0o644)
    assert (tmp_path / "edge.prom").stat().st_mode & 0o777 == 0o644


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    write_file(Path("/dev/null"), b"data")
    assert Path("/dev/null").is_char_device()
    with raises_errno(errno.ENOSPC):
        write_file(Path("/dev/full"), b"data")
    assert Path("/dev/full").is_char_device()
    read_end, write_end = os.pipe()
    write_file(Path(f"/dev/fd/{write_end}"), b"data")
    assert os.read(read_end, 10) == b"data"
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path, b"data")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_that_is_a_file_stays_what_it_is(name: str, tmp_path: Path) -> None:
    """A rename would put the file in the place of /dev/stdout."""
    before = os.readlink("/dev/stdout")
    with (tmp_path / "out").open("wb") as out:
        code = SCRIPT + f"write_file(Path({name!r}), b'data')"
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert ((tmp_path / "out").read_bytes(), names(tmp_path)) == (b"data", ["out"])
    assert os.readlink("/dev/stdout") == before


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "plan"
    path.write_text("old")
    code = SCRIPT + f"import os; os.setuid(65534); write_file(Path({str(path)!r}), b'new')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
    assert (path.read_text(), names(tmp_path)) == ("old", ["plan"])


def test_a_new_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    path = tmp_path / "new"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with raises_errno(errno.EFBIG):
            write_new(path, bytes(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == []
    write_new(path, b"one")
    with raises_errno(errno.EEXIST):
        write_new(path, b"two")
    assert path.read_bytes() == b"one"
