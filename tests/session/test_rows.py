"""Values of programs as the kernel's bytes: Python, NumPy, Arrow."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from provisioner.codec.sensitive import Sensitive
from provisioner.model.errors import InputError
from provisioner.session import rows
from tests.codec.support import built, struct

U32 = built("u32")
CIDR = built("cidr4")
BACKEND = built(struct(ip="ipv4", port="be16", weight="u16"))


def test_python_values_of_different_forms_in_one_column() -> None:
    assert rows.encode(U32, [7, "0x10", 1, b"\1\0\0\0"], "m").view(np.uint32).ravel().tolist() == [7, 16, 1, 1]
    prefixes = rows.encode(CIDR, [ip_network("10.0.0.0/8"), "10.0.0.0/8"], "m")
    assert prefixes[0].tobytes() == prefixes[1].tobytes() == b"\x08\0\0\0\x0a\0\0\0"
    backends = rows.encode(BACKEND, [{"ip": ip_address("192.0.2.1"), "port": 443, "weight": 2}], "m")
    assert backends.tobytes() == b"\xc0\0\2\1\1\xbb\2\0"


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [(U32, -1, "out-of-range"), (U32, [1], "wrong-type"), (U32, b"\1", "wrong-length"), (U32, None, "empty-value")],
)
def test_a_value_that_does_not_fit_is_an_error_with_its_address(kind: Any, value: object, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        rows.encode(kind, [1, value], "tenants[42]")
    (rows_,) = caught.value.problems
    assert (rows_.id, rows_.address) == (problem, "tenants[42]")


DTYPE = np.dtype([("key", "u4"), ("value", [("ip", "u1", 4), ("port", ">u2"), ("weight", "u2")])])


def structured() -> Any:
    return np.array([(5, ([192, 0, 2, 1], 443, 2)), (6, ([192, 0, 2, 2], 80, 1))], DTYPE)


def arrow() -> pa.Table:
    values = pa.array([b"\xc0\0\2\1\1\xbb\2\0", b"\xc0\0\2\2\0\x50\1\0"], pa.binary(8))
    return pa.table(
        {"key": pa.chunked_array([pa.array([5], pa.uint32()), pa.array([6], pa.uint32())]), "value": values}
    )


@pytest.mark.parametrize(
    "table", [structured, arrow, lambda: arrow().slice(0).to_batches()[0]], ids=["numpy", "table", "batch"]
)
def test_columns_in_the_kernels_layout(table: Callable[[], Any]) -> None:
    given = table()
    rows_ = rows.of_table(U32, BACKEND, given, "m")
    keys = rows_.keys.view(np.uint32).ravel().tolist()
    assert keys == [5, 6][: len(keys)]
    assert rows_.values[0].tobytes() == b"\xc0\0\2\1\1\xbb\2\0"
    assert (
        len(rows.of_table(U32, BACKEND, given[:0] if isinstance(given, np.ndarray) else given.slice(0, 0), "m").keys)
        == 0
    )
    part = given[1:] if isinstance(given, np.ndarray) else given.slice(1)
    assert rows.of_table(U32, BACKEND, part, "m").keys.view(np.uint32).ravel().tolist() == keys[1:]


def test_host_bits_and_padding_are_made_zero() -> None:
    padded = built(struct(flag="u8", number="u32"))
    table = np.array([(b"\x08\0\0\0\x0a\1\2\3", b"\1\xff\xff\xff\2\0\0\0")], [("key", "V8"), ("value", "V8")])
    rows_ = rows.of_table(CIDR, padded, table, "m")
    assert rows_.keys.tobytes() == b"\x08\0\0\0\x0a\0\0\0"
    assert rows_.values.tobytes() == b"\1\0\0\0\2\0\0\0"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (structured()[["key"]], "missing-column"),
        (np.zeros(1, [("key", "u8"), ("value", "V8")]), "wrong-length"),
        (pa.table({"key": pa.array([1], pa.uint16()), "value": pa.array([bytes(8)], pa.binary(8))}), "wrong-length"),
        (pa.table({"key": pa.array(["a"]), "value": pa.array([bytes(8)], pa.binary(8))}), "wrong-type"),
        (pa.table({"key": pa.array([None], pa.uint32()), "value": pa.array([bytes(8)], pa.binary(8))}), "wrong-type"),
    ],
)
def test_a_table_in_another_layout_is_an_error(table: Any, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        rows.of_table(U32, BACKEND, table, "m")
    assert [each.id for each in caught.value.problems] == [problem]


U16, BE32, IPV4, SIGNED = map(built, ("u16", "be32", "ipv4", "s32"))
SECRET = Sensitive(U32)


def column(values: Any, dtype: str) -> Any:
    return np.array(list(zip(values, strict=True)), [("key", dtype)])


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (U32, column([1], ">u4")),
        (BE32, column([1], "<u4")),
        (IPV4, column([1], "<u4")),
        (U32, column([-1], "i4")),
        (SIGNED, column([1 << 31], "u4")),
        (SECRET, column([-1234567], "i4")),
        (U32, column([1], "f4")),
        (U32, column(["a"], "U1")),
        (U32, column([None], "O")),
        (BACKEND, column([1], "M8[s]")),
        (U32, np.zeros((2, 2), [("key", "u4")])),
        (U32, np.zeros((), [("key", "u4")])),
        (U32, np.ma.array(column([1, 2], "u4"), mask=np.array([False, True], "?"))),
        (BE32, pa.table({"key": pa.array([1], pa.uint32())})),
        (U32, pa.table({"key": pa.array([-1], pa.int32())})),
        (U32, pa.table({"key": pa.array([1.0], pa.float32())})),
        (U32, pa.table({"key": pa.array(["a"]).dictionary_encode()})),
        (U32, pa.table({"key": pa.array([1], pa.timestamp("s"))})),
    ],
)
def test_a_column_whose_numbers_would_be_others_is_an_error(kind: Any, table: Any) -> None:
    with pytest.raises(InputError) as caught:
        rows.column(table, "key", kind, "m")
    (problem,) = caught.value.problems
    assert (problem.id, bool(problem.hint), "1234567" in str(problem)) == ("wrong-type", True, False)


@pytest.mark.parametrize(
    ("kind", "table", "data"),
    [
        (BE32, column([1], ">u4"), b"\0\0\0\1"),
        (IPV4, column([0x0A000001], ">u4"), b"\x0a\0\0\1"),
        (IPV4, column([b"\x0a\0\0\1"], "V4"), b"\x0a\0\0\1"),
        (U32, column([5], "i4"), b"\5\0\0\0"),
        (U16, column([7, 8], "u2")[::-1][:1], b"\x08\0"),
        (U32, np.broadcast_to(column([1], "u4"), (1,)), b"\1\0\0\0"),
        (U32, np.ma.array(column([3], "u4"), mask=False), b"\3\0\0\0"),
        (U32, pa.table({"key": pa.array([5], pa.int32())}), b"\5\0\0\0"),
    ],
)
def test_a_column_of_the_same_numbers(kind: Any, table: Any, data: bytes) -> None:
    assert rows.column(table, "key", kind, "m").tobytes() == data


def test_two_columns_of_one_name_are_an_error() -> None:
    one = pa.array([1], pa.uint32())
    with pytest.raises(InputError) as caught:
        rows.column(pa.Table.from_arrays([one, one], names=["key", "key"]), "key", U32, "m")
    assert [each.id for each in caught.value.problems] == ["missing-column"]
