"""The kernel takes our BTF with a map, and bpftool names the fields of that map by it."""

from __future__ import annotations

import ctypes
import json
import os
import struct as binary
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from provisioner.codec import Type, btf_of
from provisioner.model.type_expr import TypeExpr
from provisioner.model.uapi import Command, MapFlag, MapType

from .support import built, encoded, enum, lpm, option, struct, union

SYSCALL = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command: Command, attributes: bytes) -> int:
    """The bpf system call; its result, or OSError."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    result: int = LIBC.syscall(SYSCALL, int(command), buffer, 128)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@contextmanager
def open_map(map_type: MapType, key: Type, value: Type, flags: int = 0) -> Iterator[int]:
    """The fd of a map with four entries at most, whose BTF is ours."""
    data, key_id, value_id = btf_of(key, value, sys.byteorder)
    types = ctypes.create_string_buffer(data, len(data))
    with ExitStack() as stack:
        log = ctypes.create_string_buffer(1 << 16)
        pointers = (ctypes.addressof(types), ctypes.addressof(log))
        try:
            btf_fd = bpf(Command.BTF_LOAD, binary.pack("=QQIII", *pointers, len(data), len(log), 1))
        except OSError as error:
            raise AssertionError(log.value.decode()) from error
        stack.callback(os.close, btf_fd)
        shape = binary.pack("=IIIII", map_type, key.size, value.size, 4, flags)
        rest = binary.pack("=II16sIIII", 0, 0, b"codec", 0, btf_fd, key_id, value_id)
        fd = bpf(Command.MAP_CREATE, shape + rest)
        stack.callback(os.close, fd)
        yield fd


def dumped(fd: int, key: bytes, value: bytes) -> dict[str, Any]:
    """How bpftool prints one entry of the map."""
    buffers = [ctypes.create_string_buffer(data, len(data)) for data in (key, value)]
    bpf(Command.MAP_UPDATE_ELEM, binary.pack("=IIQQQ", fd, 0, *map(ctypes.addressof, buffers), 0))
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
        map_id = next(line.split()[1] for line in info if line.startswith("map_id:"))
    command = ["bpftool", "--json", "map", "dump", "id", map_id]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    entries = json.loads(output)
    [entry] = [each for each in entries if bytes(int(byte, 16) for byte in each["key"]) == key]
    formatted: dict[str, Any] = entry["formatted"]
    return formatted


RECORD = struct(
    ip="ipv4",
    port="be16",
    state=enum("u8", up=1, down=2),
    name="char[5]",
    table="u16[2][3]",
    timeout=option("u64", unit="ns"),
    live="bool",
    weight="s32",
    mac="mac",
)


def test_an_array_with_a_struct() -> None:
    key, value = built("u32", sys.byteorder), built("record", sys.byteorder, types={"record": RECORD})
    written = {
        "ip": "192.0.2.1",
        "port": "443",
        "state": "down",
        "name": "web",
        "table": [["1", "2"], ["3", "4"], ["5", "6"]],
        "timeout": "1us",
        "live": "true",
        "weight": "-5",
        "mac": "00:00:00:00:00:01",
    }
    with open_map(MapType.ARRAY, key, value) as fd:
        entry = dumped(fd, encoded(key, "2"), encoded(value, written))
    shown = entry["value"]
    assert entry["key"] == 2
    assert (shown["state"], shown["name"], shown["timeout"], shown["weight"]) == ("down", "web", 1000, -5)
    assert shown["table"] == [[1, 2], [3, 4], [5, 6]]
    assert shown["live"] in (1, True)
    assert list(shown) == list(written)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("cidr4", "10.0.0.0/8"),
        ("cidr6", "2001:db8::/32"),
        (lpm("bytes[3]"), "ff0000/8"),
        (lpm(struct(vlan="be16", addr="ipv4", packed=True)), {"prefixlen": 24, "vlan": 7, "addr": "10.0.0.0"}),
    ],
)
def test_lpm_keys(key: TypeExpr | str, written: object) -> None:
    key_type, value = built(key, sys.byteorder), built(enum("u8", deny=0, allow=1), sys.byteorder)
    with open_map(MapType.LPM_TRIE, key_type, value, MapFlag.NO_PREALLOC) as fd:
        data = encoded(key_type, written)
        entry = dumped(fd, data, encoded(value, "allow"))
    assert entry["value"] == "allow"
    assert entry["key"]["prefixlen"] == int.from_bytes(data[:4], sys.byteorder)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("ip", "10.0.0.1"),
        ("mac", "02:00:00:00:00:01"),
        ("char[16]", "eth0"),
        ("ifindex", "3"),
        ("le32", "1"),
        (enum("u64", big=2**40), "big"),
        (union(v4="ipv4", v6="ipv6"), {"v4": "10.0.0.1"}),
        (struct(has="u8", two="u64"), {"has": 1, "two": 2}),
    ],
)
def test_keys_of_hashes(key: TypeExpr | str, written: object) -> None:
    key_type, value = built(key, sys.byteorder), built("u64", sys.byteorder)
    with open_map(MapType.HASH, key_type, value) as fd:
        entry = dumped(fd, encoded(key_type, written), encoded(value, "9"))
    assert entry["value"] == 9


def test_names_that_c_would_not_take() -> None:
    members = {"2nd-weight": "u32", "a b": "u32"}
    value = built("my-type", sys.byteorder, types={"my-type": struct(False, **members)})
    with open_map(MapType.ARRAY, built("u32", sys.byteorder), value) as fd:
        entry = dumped(fd, bytes(4), encoded(value, {"2nd-weight": 1, "a b": 2}))
    assert entry["value"] == {"_2nd_weight": 1, "a_b": 2}
