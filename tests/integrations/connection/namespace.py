"""An Ansible connection to a host in namespaces. `ansible_host` is the id of a process in them."""

from __future__ import annotations

import shlex
import shutil
from typing import Any

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: namespace
short_description: run in the mount, network and PID namespaces of a process
description: C(ansible_host) is the id of the process. C(ip netns exec) cannot be used, because it hides the bpffs.
author: the tests
extends_documentation_fragment: [connection_pipelining]
options:
  become_success_timeout:
    description: As in the local connection.
    type: int
    default: 10
  become_strip_preamble:
    description: As in the local connection.
    type: bool
    default: true
"""


class Connection(Local):  # type: ignore[misc]  # ansible has no types
    """The local connection, in the namespaces."""

    transport = "namespace"

    def exec_command(self, cmd: str, in_data: Any = None, sudoable: bool = True) -> Any:
        namespaces = ("--target", self._play_context.remote_addr, "--mount", "--net", "--pid")
        inside = ("nsenter", *namespaces, "--", "/bin/sh", "-c", cmd)
        return super().exec_command(shlex.join(inside), in_data, sudoable)

    def put_file(self, in_path: str, out_path: str) -> None:
        shutil.copyfile(in_path, self._outside(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        shutil.copyfile(self._outside(in_path), out_path)

    def _outside(self, path: str) -> str:
        return f"/proc/{self._play_context.remote_addr}/root{path}"
