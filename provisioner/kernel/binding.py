"""How libbpf is loaded: its functions are bound once, on first use, and its messages are captured.

Each `Function` carries its signature and its error check: one that fails raises `KernelError`. Calls release the GIL.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any, ClassVar, Final, Generic, TypeVar

from provisioner.kernel.reasons import LOAD, KernelError
from provisioner.model.errors import HostError, Problem

OLDEST: Final = (1, 1)
"""The first libbpf that has all we call: that of Debian 12."""

ASKS_AGAIN: Final = frozenset({errno.EINTR, errno.EAGAIN})
"""What the kernel says to a call that was interrupted and did nothing: the same call again may go through."""

REPEATS: Final = 5
"""How often a call is repeated that the kernel asks for again: as often as libbpf does with BPF_PROG_LOAD."""

Result = TypeVar("Result")


class Function(Generic[Result]):
    """One row of the table: a symbol, its signature, and the operation that its failure is called by."""

    __slots__ = ("_bound", "_is_repeatable", "argtypes", "name", "operation", "restype")
    table: ClassVar[list[Function[Any]]] = []

    def __init__(self, name: str, restype: Any, *argtypes: Any, fails: str = "") -> None:
        self.name = name
        self.restype = restype
        self.argtypes = argtypes
        self.operation = fails
        # A batch says how far it came, and libbpf itself repeats the load of a program: neither is repeated here.
        self._is_repeatable = fails.startswith("BPF_") and not fails.endswith("_BATCH") and fails != LOAD
        self._bound: Any = None
        self.table.append(self)

    def __call__(self, *arguments: Any) -> Result:
        if self._bound is None:
            _load()
        try:
            result: Result = self._bound(*arguments)
        except KernelError as error:
            if error.errno not in ASKS_AGAIN or not self._is_repeatable:
                raise
            result = self._once_more(*arguments)
        return result

    def _once_more(self, *arguments: Any) -> Result:
        """Up to `REPEATS` times more, as long as that is all that the kernel asks for."""
        for _ in range(REPEATS - 1):
            try:
                result: Result = self._bound(*arguments)
            except KernelError as error:
                if error.errno not in ASKS_AGAIN:
                    raise
            else:
                return result
        last: Result = self._bound(*arguments)
        return last

    def bind(self, library: ctypes.CDLL) -> None:
        """Find the symbol and fix its signature. Raises `HostError` if the library lacks it."""
        try:
            symbol = library[self.name]
        except AttributeError as error:
            raise _unusable(f"libbpf has no {self.name}") from error
        symbol.restype, symbol.argtypes = self.restype, self.argtypes
        if self.operation:
            check: Any = self._check_pointer if self.restype is c_void_p else self._check_number
            symbol.errcheck = check
        self._bound = symbol

    def _check_number(self, result: int, _symbol: Any, _arguments: Any) -> int:
        if result < 0:  # libbpf 1.x gives -errno
            raise KernelError(self.operation, -result)
        return result

    def _check_pointer(self, result: int | None, _symbol: Any, _arguments: Any) -> int:
        if not result:
            raise KernelError(self.operation, ctypes.get_errno())
        return result


major_version: Function[int] = Function("libbpf_major_version", c_uint32)
minor_version: Function[int] = Function("libbpf_minor_version", c_uint32)
set_print: Function[int | None] = Function("libbpf_set_print", c_void_p, c_void_p)

_lock = threading.Lock()
_loaded: list[ctypes.CDLL] = []


def _unusable(what: str) -> HostError:
    return HostError(
        Problem(what, hint="install libbpf 1.1 or later (package libbpf1 on Debian and Ubuntu)", id="libbpf-missing")
    )


def _load() -> None:
    """Load libbpf, refuse one that is too old, bind the whole table, take over its messages."""
    with _lock:
        if _loaded:
            return
        path = os.environ.get("PROVISIONER_LIBBPF") or "libbpf.so.1"
        try:
            library = ctypes.CDLL(path, use_errno=True)
        except OSError as error:
            raise _unusable(f"cannot load libbpf: {error}") from error
        major_version.bind(library)
        minor_version.bind(library)
        version = (major_version(), minor_version())
        if version < OLDEST:
            raise _unusable(f"libbpf {version[0]}.{version[1]} is too old")
        for function in Function.table:
            function.bind(library)
        set_print(ctypes.cast(_print_callback, c_void_p))
        _loaded.append(library)


class _Logs(threading.local):
    """What libbpf says in this thread, for each `captured_log` that is open in it."""

    def __init__(self) -> None:
        self.open: list[list[str]] = []


_logs = _Logs()
_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes, _vsnprintf.restype = (c_char_p, c_size_t, c_char_p, c_void_p), c_int
_DEBUG: Final = 2


def _print(level: int, form: bytes, arguments: int) -> int:
    """A `libbpf_print_fn_t`. Its `va_list` reaches us as a pointer in every ABI that Linux runs BPF on."""
    if _logs.open and level < _DEBUG:
        text = ctypes.create_string_buffer(1 << 16)
        _vsnprintf(text, len(text), form, arguments)
        _logs.open[-1].append(text.value.decode(errors="replace"))
    return 0


_print_callback: Final = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)(_print)


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """What libbpf logs in this thread inside the block, with verifier logs. It is not shown elsewhere."""
    said: list[str] = []
    _logs.open.append(said)
    try:
        yield said
    finally:
        _logs.open.remove(said)
