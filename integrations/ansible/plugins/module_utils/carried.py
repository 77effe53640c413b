# Apache License 2.0 (see LICENSE at the top of the project)
"""Files of the controller on a host: unpacked beside the module, and installed when the plan is accepted."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import tarfile
import tempfile


class Carried:
    """An archive of the controller, unpacked into the module's temporary directory.

    `directories` are directories of the controller: they are mirrored, as each file in them may be part of the spec.
    """

    def __init__(self, module, archive, dest, directories):
        self._directories = directories
        self.dest = dest
        self.staged = os.path.join(module.tmpdir, "files")
        os.mkdir(self.staged, 0o700)
        with tarfile.open(archive) as opened:
            if hasattr(tarfile, "data_filter"):
                opened.extractall(self.staged, filter="data")
            else:
                opened.extractall(self.staged)

    def differences(self):
        """Names, relative to dest, of files that are missing or different there, and of files to remove there."""
        wanted = set(_files(self.staged))
        changed = {name for name in wanted if not self._is_installed(name)}
        mirrored = (os.path.join(self.dest, name) for name in self._directories)
        present = {os.path.relpath(os.path.join(top, name), self.dest) for top in mirrored for name in _files(top)}
        return sorted(changed), sorted(present - wanted)

    def install(self):
        """Make the files in dest what the controller has. Each file is replaced by a rename."""
        changed, removed = self.differences()
        for name in changed:
            _replace(os.path.join(self.staged, name), os.path.join(self.dest, name))
        for name in removed:
            os.remove(os.path.join(self.dest, name))

    def _is_installed(self, name):
        target = os.path.join(self.dest, name)
        return os.path.isfile(target) and filecmp.cmp(os.path.join(self.staged, name), target, shallow=False)


def _replace(source, target):
    """Put a copy of source at target by a rename. It keeps owner and mode of target; a new file is 0600."""
    folder = os.path.dirname(target)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".provisioner-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream, open(source, "rb") as content:
            shutil.copyfileobj(content, stream)
        if os.path.isfile(target):
            before = os.stat(target)
            os.chown(temporary, before.st_uid, before.st_gid)
            os.chmod(temporary, stat.S_IMODE(before.st_mode))
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _files(top):
    for folder, _subfolders, names in os.walk(top):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), top)
