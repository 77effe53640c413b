"""Print the copyright file of the Debian package: the project's licence, and those of the libraries in a directory."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

OWN: Final = """\
bpf-provisioner
===============

Copyright: the contributors of bpf-provisioner
License: Apache-2.0

On Debian systems, /usr/share/common-licenses/Apache-2.0 has the text of the Apache License, Version 2.0.

The package contains the following Python libraries in /usr/lib/provisioner.
"""

NAMES: Final = ("licen", "copying", "notice")

COMMON: Final = (
    ("Apache-2.0", r"^ *Apache License\n *Version 2\.0.*?END OF TERMS AND CONDITIONS$"),
    ("GPL-3", r"^ *GNU GENERAL PUBLIC LICENSE\n *Version 3.*?why-not-lgpl\.html>\.$"),
)
"""Licences that Debian has in /usr/share/common-licenses, where policy wants them referred to, not repeated."""


def main() -> int:
    """Print everything; a library without a licence file is an error."""
    library = Path(sys.argv[1])
    parts = [OWN]
    for distribution in sorted(distributions(path=[str(library)]), key=lambda each: each.name.lower()):
        if distribution.name == "bpf-provisioner":
            continue
        title = f"{distribution.name} {distribution.version}"
        parts.append(f"{title}\n{'-' * len(title)}\n\nLicense: {_licence(distribution)}\n")
        texts = [
            Path(str(distribution.locate_file(file))) for file in distribution.files or () if _is_licence(file.parts)
        ]
        if not texts:
            sys.stderr.write(f"{title} has no licence file\n")
            return 1
        parts += [f"[{path.relative_to(library)}]\n\n{_without_common(path.read_text())}\n" for path in sorted(texts)]
    sys.stdout.write("\n".join(parts))
    return 0


def _licence(distribution: Distribution) -> str:
    metadata = distribution.metadata
    fields = (metadata.get("License-Expression"), metadata.get("License"))
    named = next((field.splitlines()[0] for field in fields if field), "")
    classes = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License")
    ]
    return named or ", ".join(classes) or "see below"


def _without_common(text: str) -> str:
    for name, pattern in COMMON:
        reference = f"On Debian systems, /usr/share/common-licenses/{name} has the text of this licence."
        text = re.sub(pattern, reference, text, flags=re.MULTILINE | re.DOTALL)
    return text.strip()


def _is_licence(parts: tuple[str, ...]) -> bool:
    return parts[-1].lower().startswith(NAMES) and not parts[-1].endswith((".py", ".pyc"))


if __name__ == "__main__":
    sys.exit(main())
