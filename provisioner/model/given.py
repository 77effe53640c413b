"""Values of spec variables that are given from outside of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


def is_variable_name(text: str) -> bool:
    """Whether a text is a name in ASCII: letters, digits and `_`, not a digit first."""
    return text.isascii() and text.isidentifier()


class Given(msgspec.Struct, frozen=True):
    """The value of a spec variable, and where it was given: `--var`, or `fleet.yaml:4`.

    `is_required` says that it is an error if the spec does not have the variable.
    """

    text: str
    source: str
    is_required: bool = False


Uses = Mapping[str, Mapping[int, str]]
"""File -> the packed place of a scalar -> the variables in it with their sources: `${site}: --var`."""


class Outside(msgspec.Struct, frozen=True):
    """Where spec variables get values outside of the spec: `given` ones first, then the `environment`."""

    given: Mapping[str, Given] = {}
    environment: Mapping[str, str] = {}


NOTHING_GIVEN: Final = Outside()
