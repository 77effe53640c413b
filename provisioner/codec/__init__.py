"""Types to bytes and back, one column at a time. Pure: byte order, BTF and the names of the host are arguments."""

from __future__ import annotations

from provisioner.codec.btf import BtfTypes
from provisioner.codec.btf_emit import btf_of
from provisioner.codec.build import Builder, build
from provisioner.codec.display import difference, display, display_change, format_value
from provisioner.codec.long_values import digest
from provisioner.model.types import HIDDEN, ByteOrder, Bytes, Column, Fault, Hidden, Path, Type, Value

__all__ = [
    "HIDDEN",
    "BtfTypes",
    "Builder",
    "ByteOrder",
    "Bytes",
    "Column",
    "Fault",
    "Hidden",
    "Path",
    "Type",
    "Value",
    "btf_of",
    "build",
    "difference",
    "digest",
    "display",
    "display_change",
    "format_value",
]
