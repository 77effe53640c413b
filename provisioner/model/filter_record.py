"""What is known of a filter that this project made: the kernel shows which program a filter runs, not whose it is."""

from __future__ import annotations

import msgspec

from provisioner.model.attachment import FilterPlace
from provisioner.model.uapi import U32


class FilterRecord(msgspec.Struct, frozen=True):
    """The interface and the place of a filter, and the ids of the programs that it may run: two during an upgrade.

    A filter that runs another program belongs to another owner. `has_qdisc` says that the project made the clsact qdisc
    of the interface.
    """

    ifindex: U32
    place: FilterPlace
    programs: tuple[U32, ...]
    has_qdisc: bool = False

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str) -> FilterRecord:
        """Raises ValueError where the text is not a record."""
        try:
            return msgspec.json.decode(text, type=FilterRecord)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
