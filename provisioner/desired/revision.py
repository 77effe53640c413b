"""The revision of a project: one digest of everything that it was read from. Pure.

Paths are not part of it: the same files give the same revision on the machine that reviews them and on the hosts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def revision(spec: str, tables: Iterable[str], objects: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """The revision of a spec by the digests of its files, tables in the order of reading, and objects by name.

    `variables` are the values of the variables that it uses.
    """
    digest = hashlib.sha256()
    parts = [
        ("spec", spec),
        *(("table", table) for table in tables),
        *(("object", name, objects[name]) for name in sorted(objects)),
        *(("variable", name, variables[name]) for name in sorted(variables)),
    ]
    for part in parts:
        for word in part:
            data = word.encode("utf-8", "surrogateescape")
            digest.update(len(data).to_bytes(8, "big") + data)
    return f"sha256:{digest.hexdigest()}"
