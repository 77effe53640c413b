"""Errors as tests name them: by the ids of their problems, which do not change with the wording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from provisioner.model.errors import ProvisionerError

_Error = TypeVar("_Error", bound=ProvisionerError)


@contextmanager
def raises(kind: type[_Error], *ids: str) -> Iterator[pytest.ExceptionInfo[_Error]]:
    """As `pytest.raises`: an error of this class, whose problems have these ids, in order."""
    with pytest.raises(kind) as caught:
        yield caught
    assert [problem.id for problem in caught.value.problems] == list(ids), caught.value


@contextmanager
def raises_errno(number: int) -> Iterator[pytest.ExceptionInfo[OSError]]:
    """An OSError with this errno: its text is that of the C library."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        yield caught
    assert caught.value.errno == number, caught.value
