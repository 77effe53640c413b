"""The record of a project: what the kernel does not store, as JSON in a frozen map in the pin root."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from provisioner.model.attachment import Settings
from provisioner.model.map_shape import MapShape
from provisioner.model.object_settings import Recorded
from provisioner.model.uapi import U32


class RecordedTypes(msgspec.Struct, frozen=True):
    """The types of one map as a spec writes them, empty where a spec cannot; `names` are the types that they use.

    `outer_key` is empty for a plain map. `sensitive` parts are marked, so that no output shows them without the spec.
    `owned_members` are names of members of the value, empty if the spec owns all of it; `set` has the other members in
    new entries, without sensitive ones.
    """

    outer_key: str
    key: str
    value: str
    names: Mapping[str, str] = {}
    owned_members: tuple[str, ...] = ()
    set: str = ""


class Meta(msgspec.Struct, frozen=True):
    """What the kernel does not store, in a small frozen map in the pin root.

    `objects` maps an object's name to its digest, empty while it is being loaded: then it is loaded again.
    `templates` keeps the shape of inner maps, which an empty outer map does not show. `attachments` has the kind and
    the settings of each link by its pin, as the kernel shows only a part of them. `used_maps` has the pinned maps that
    each program was loaded with, by pin; `pins` all names that the project pinned. `settings` has what was set of each
    object before it was loaded, `maps` the id of each map by its pin: a map that lost its pin is found by it. `types`
    has the types of each map that the spec declares, for a host whose spec is lost. `places` are the paths of own maps
    that are pinned outside of the pin root, `directories` those that were created for them, each after its parent.
    `revision` is that of the last apply with a change. `approvals` are the keys of approvals that were used.
    """

    project: str
    objects: Mapping[str, str]
    templates: Mapping[str, MapShape]
    attachments: Mapping[str, Settings]
    used_maps: Mapping[str, tuple[int, ...]]
    protected: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    settings: Mapping[str, Recorded] = {}
    maps: Mapping[str, int] = {}
    types: Mapping[str, RecordedTypes] = {}
    places: Mapping[str, str] = {}
    directories: tuple[str, ...] = ()
    revision: str = ""
    approvals: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(msgspec.to_builtins(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Meta:
        """Raises ValueError where the text is not a record."""
        try:
            read = msgspec.json.decode(text, type=_Record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from error
        attachments = _of_modes(read.attach_modes) if read.attachments is None else read.attachments
        fields = {name: getattr(read, name) for name in Meta.__struct_fields__}
        return Meta(**{**fields, "attachments": attachments})


class _Record(msgspec.Struct, frozen=True):
    """A record as it is decoded; one of version 0.2 has `attach_modes` in place of `attachments`."""

    project: str
    objects: Mapping[str, str]
    templates: Mapping[str, MapShape]
    used_maps: Mapping[str, tuple[int, ...]]
    protected: tuple[str, ...]
    pins: tuple[str, ...]
    attachments: Mapping[str, Settings] | None = None
    attach_modes: Mapping[str, str] = {}
    settings: Mapping[str, Recorded] = {}
    maps: Mapping[str, U32] = {}
    types: Mapping[str, RecordedTypes] = {}
    revision: str = ""
    places: Mapping[str, str] = {}
    directories: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


def _of_modes(modes: Mapping[str, str]) -> dict[str, Settings]:
    """The attachments in a record of version 0.2, which has the XDP mode of each link alone."""
    return {pin: {"kind": "xdp", "mode": mode.lower()} for pin, mode in modes.items()}
