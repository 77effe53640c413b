"""What ends a verb: the host, where memory or a library is missing; else a bug."""

from __future__ import annotations

import pytest

from provisioner.cli.console import Console
from provisioner.cli.guard import guarded


@pytest.mark.parametrize(
    ("error", "status", "id_"),
    [
        (MemoryError(), 5, "out-of-memory"),
        (SystemError("returned NULL without setting an exception"), 5, "out-of-memory"),
        (ImportError("mmap.so: failed to map segment from shared object"), 5, "library-missing"),
        (ImportError(), 5, "library-missing"),
        (KeyError("x"), 70, "bug"),
    ],
)
def test_the_status_of_an_unexpected_exception(
    error: Exception, status: int, id_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert guarded(Console("text", "never", quiet=False, verbose=False), fail) == status
    assert f"error[{id_}]: " in capsys.readouterr().err
