"""Another BPF user of the machine: `python -m tests.kernel.other_user OBJECT MOUNT_POINT`.

It creates, pins and removes maps, programs and links in a loop until standard input ends. For each line that it reads
it completes one more round, then answers with a line. What a round creates is removed by the next round, after that has
created its own: there is always something new.
"""

from __future__ import annotations

import select
import subprocess
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.host import ifindex
from provisioner.model.attachment import CreateLink
from provisioner.model.uapi import AttachType, XdpMode
from tests.kernel.shapes import ARRAY, HASH, HASH_OF_MAPS

INTERFACES = ("other-a", "other-b")


def main(file: str, mount: Path) -> None:
    """Work in the namespaces that this process was started in."""
    subprocess.run(["mount", "-t", "bpf", "bpf", str(mount)], check=True)
    subprocess.run(["ip", "link", "add", INTERFACES[0], "type", "veth", "peer", "name", INTERFACES[1]], check=True)
    previous = ExitStack()
    for number in count():
        asked = bool(select.select([sys.stdin], [], [], 0)[0])
        if asked and not sys.stdin.readline():
            break
        created = ExitStack()
        _round(created, file, mount / str(number), INTERFACES[number % 2])
        previous.close()
        previous = created
        if asked:
            print("round", number, flush=True)  # noqa: T201
    previous.close()


def _round(created: ExitStack, file: str, pin: Path, interface: str) -> None:
    inner = created.enter_context(maps.create(HASH, "others"))
    outer = created.enter_context(maps.create(HASH_OF_MAPS, "others", inner=inner))
    maps.insert_inner(outer, bytes(4), inner)
    loaded = created.enter_context(objects.load(Path(file), inner_templates={"tenants": ARRAY}))
    created.enter_context(
        links.create(loaded.programs["first"], CreateLink(AttachType.XDP, XdpMode.GENERIC), ifindex(interface))
    )
    bpffs.pin(outer, pin)
    created.callback(bpffs.unpin, pin)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
