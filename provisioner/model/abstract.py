"""Structs with abstract methods: msgspec's and abc's metaclasses in one."""

from abc import ABCMeta

import msgspec


class AbstractStruct(msgspec.StructMeta, ABCMeta):
    """The metaclass of a struct that leaves methods to its subclasses."""
