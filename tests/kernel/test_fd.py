"""An fd has one owner and is closed on every path."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from provisioner.kernel.fd import Fd, FdSet, MapFd, MapFds
from tests.problems import raises_errno


def new_fd() -> int:
    return os.open("/dev/null", os.O_RDONLY)


def test_closes_at_the_end_of_its_scope_and_only_once() -> None:
    with Fd(new_fd()) as fd:
        number = fd.number
    assert fd.closed
    with raises_errno(errno.EBADF):
        os.fstat(number)
    fd.close()


def test_a_closed_fd_has_no_number() -> None:
    fd = Fd(new_fd())
    fd.close()
    with pytest.raises(ValueError, match="closed"):
        _ = fd.number


def test_a_disowned_fd_stays_open() -> None:
    with Fd(new_fd()) as fd:
        number = fd.disown()
    os.close(number)


def test_a_duplicate_outlives_the_first() -> None:
    with MapFd(new_fd()) as first:
        second = first.duplicate()
    assert isinstance(second, MapFd)
    os.fstat(second.number)
    second.close()


def test_fd_zero_is_never_handed_out() -> None:
    kept = os.dup(0)
    try:
        os.close(0)
        zero = new_fd()
        assert zero == 0
        with Fd(zero) as fd:
            assert fd.number > 2
            with raises_errno(errno.EBADF):
                os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_an_fd_that_is_forgotten_is_closed_and_said() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fd = Fd(new_fd())
        number = fd.number
        del fd
    assert [warning.category for warning in said] == [ResourceWarning]
    with raises_errno(errno.EBADF):
        os.fstat(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_fd_is_closed_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fd = Fd(new_fd())
        number = fd.number
        del fd
    with raises_errno(errno.EBADF):
        os.fstat(number)


def test_a_set_closes_all_even_where_one_fails() -> None:
    numbers = [new_fd() for _ in range(5)]
    fds: FdSet[Fd] = FdSet()
    for number in numbers:
        fds.add(Fd(number))
    assert fds.numbers() == numbers
    assert len(fds) == len(list(fds)) == 5
    os.close(numbers[2])
    with raises_errno(errno.EBADF):
        fds.close()
    for number in numbers:
        with raises_errno(errno.EBADF):
            os.fstat(number)


def test_many_fds_are_closed_and_none_between_them() -> None:
    numbers = [new_fd() for _ in range(8)]
    owned, others = [numbers[at] for at in (6, 0, 1, 3)], [numbers[at] for at in (2, 4, 5, 7)]
    fds = MapFds()
    fds.watch(np.array([*owned, -1], np.int32))
    fds.close()
    fds.close()
    for number in owned:
        with raises_errno(errno.EBADF):
            os.fstat(number)
    for number in others:
        os.close(number)


def test_room_for_fds_is_made_at_once() -> None:
    code = """
import os, re, resource
from provisioner.kernel.fd import Fd
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
size = lambda: int(re.search(r"FDSize:\\s+(\\d+)", open("/proc/self/status").read())[1])
sizes = [size()]
with Fd(os.open("/dev/null", os.O_RDONLY)) as fd:
    for fds in (900, 1000):  # the second is more than the limit
        fd.make_room(fds)
        sizes.append(size())
print(sizes[0] < 900 <= sizes[1] == sizes[2], len(os.listdir("/proc/self/fd")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, close_fds=True)
    assert done.stdout.split() == ["True", "4"]
