# Apache License 2.0 (see LICENSE at the top of the project)
"""The part of `maps` that runs on the controller: it packs the controller's files into one archive for the host."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

OF_THE_CONTROLLER = ("src", "overlays_src", "data_src", "content", "dest")
"""Options that only this plugin reads. The module gets `_archive` in their place."""

DEST = "/etc/provisioner"


class ActionModule(ActionBase):
    """Runs the module `maps`, with or without files of the controller."""

    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        given = {name: arguments.pop(name, None) for name in OF_THE_CONTROLLER}
        if not any(given[name] for name in OF_THE_CONTROLLER):
            return self._execute(arguments, task_vars)
        try:
            return self._carry(given, arguments, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _execute(self, arguments, task_vars):
        return self._execute_module(
            module_name="bpf.provisioner.maps",
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=self._task.async_val,
        )

    def _carry(self, given, arguments, task_vars):
        if self._task.async_val:
            raise AnsibleError("async is not supported with files of the controller")
        if arguments.get("files") or arguments.get("overlays"):
            raise AnsibleError(
                "files and overlays name files of the host: use src and overlays_src with src or content"
            )
        if bool(_listed(given["src"])) == (given["content"] is not None):
            raise AnsibleError("exactly one of src and content is required with overlays_src, data_src or dest")
        pack = _Pack(lambda name: self._find_needle("files", name), self._loader.get_real_file)
        if given["content"] is not None:
            if not given["dest"]:
                raise AnsibleError("content requires dest, the path of the spec file on the host")
            dest, name = os.path.split(given["dest"])
            specs = [pack.add_text(name, _text(given["content"]))]
        else:
            dest = given["dest"] or DEST
            specs = [pack.add(name) for name in _listed(given["src"])]
        overlays = [pack.add(name) for name in _listed(given["overlays_src"])]
        for name in _listed(given["data_src"]):
            pack.add(name)
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "files.tar")
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            pack.write(archive)
            self._transfer_file(archive.name, remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        carried = {"archive": remote, "dest": dest, "directories": sorted(pack.directories)}
        return self._execute(arguments | {"files": specs, "overlays": overlays, "_carried": carried}, task_vars)


class _Pack:
    """Files of the controller by their relative names on the host."""

    def __init__(self, find, real):
        self._find = find
        self._real = real
        self._members = {}
        self.directories = set()

    def add(self, name):
        """A file or a directory of the controller, found as `copy` finds its `src`. Gives its name on the host."""
        path = os.path.realpath(self._find(name))
        own = os.path.basename(name.rstrip("/")) or name
        if os.path.isdir(path):
            self.directories.add(own)
            for folder, _subfolders, files in sorted(os.walk(path)):
                for file in sorted(files):
                    member = os.path.relpath(os.path.join(folder, file), path)
                    self._put(os.path.join(own, member), os.path.join(folder, file))
        else:
            self._put(own, path)
        return own

    def add_text(self, name, text):
        self._put(name, text.encode())
        return name

    def _put(self, member, source):
        if self._members.setdefault(member, source) != source:
            raise AnsibleError(f"two files of the controller have the name {member} on the host")

    def write(self, stream):
        """All members as a tar archive. Files of Ansible Vault are decrypted."""
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for member, source in sorted(self._members.items()):
                if isinstance(source, bytes):
                    content = source
                else:
                    with open(self._real(source), "rb") as file:
                        content = file.read()
                info = tarfile.TarInfo(member)
                info.size, info.mode = len(content), 0o600
                with tempfile.SpooledTemporaryFile() as held:
                    held.write(content)
                    held.seek(0)
                    archive.addfile(info, held)
        stream.flush()


def _listed(value):
    """A list option as a list: the module has not checked it yet."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _text(content):
    """The text of a spec. YAML that is written in the playbook arrives as a mapping."""
    return content if isinstance(content, str) else json.dumps(content, indent=2)
