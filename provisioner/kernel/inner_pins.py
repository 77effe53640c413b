"""Inner maps by their ids, as slots are read: by a pin of that name where there is one, else by the kernel's list."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.reasons import KernelError
from provisioner.model.access import AS_MADE, Access
from provisioner.model.errors import HostError, Problem


class InnerPins(msgspec.Struct, frozen=True):
    """The inner maps of one outer map. `folder` holds a pin for each, named by its id; None: they have no pins.

    A pin's name needs no care when a slot changes hands: it is the id that the slot is read as, it holds the map, and
    so no other map gets that id while it is there.
    """

    folder: Path | None = None
    access: Access = AS_MADE

    def open(self, number: int, *, readonly: bool = False) -> MapFd:
        """Open one. Raises `KernelError` with ENOENT if it is gone, HostError where only CAP_SYS_ADMIN would do."""
        if self.folder is None:
            return maps.open_id(InnerId(number))
        fd = self._open_pin(self.folder / str(number), number, readonly)
        if fd is not None:
            return fd
        try:
            return maps.open_id(InnerId(number))
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            what = f"inner map {number} has no pin in {self.folder}, and opening a map by its id needs CAP_SYS_ADMIN"
            hint = "another process inserted it, or it is older than `pin_inner_maps: true`: run apply once as root"
            raise HostError(Problem(what, None, hint, self.folder.name, id="inner-pin-missing")) from error

    @staticmethod
    def _open_pin(path: Path, number: int, readonly: bool) -> MapFd | None:
        """The map that is pinned there, if it is the one with this id."""
        try:
            fd = maps.open_pin(path, readonly)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return None
        try:
            if maps.info(fd).id == number:
                return fd
        except BaseException:
            fd.close()
            raise
        fd.close()
        return None

    def pin(self, fds: Iterable[MapFd]) -> None:
        """Pin new inner maps before they are put into a slot, if the spec asks for pins."""
        if self.folder is None:
            return
        for fd in fds:
            bpffs.pin(fd, self.folder / str(maps.info(fd).id), self.access)

    def unpin(self, number: int) -> None:
        """Remove the pin of an inner map, if there is one."""
        if self.folder is not None:
            bpffs.unpin(self.folder / str(number))


OPENED_BY_ID: Final = InnerPins()
"""Of inner maps that have no pins."""


def pinned(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """What is in the directory of inner maps: the names of the pins in the directory of each outer map."""
    return {name: bpffs.list_pins(folder / name) for name in bpffs.list_folders(folder)}


def remove(folder: Path, stale: Iterable[str]) -> Iterator[Problem]:
    """Remove pins and empty directories below `folder`, by their paths from there; gives problems of those that stay.

    An empty directory that stays is harmless: the next run tries again.
    """
    for path in stale:
        if (folder / path).is_dir():
            with suppress(KernelError):
                bpffs.remove_dir(folder / path)
            continue
        try:
            bpffs.unpin(folder / path)
        except HostError as error:
            yield from error.problems
