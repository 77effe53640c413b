"""Why libbpf cannot open an object: from its log, what the object is made for, and what to do. Pure."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from provisioner.model.errors import Problem
from provisioner.model.location import Location
from provisioner.object_check.elf import ElfFile
from provisioner.object_check.symbols import symbols_in

_KEEP_LOADER: Final = "or keep its own loader, which uses the maps that the spec creates with `own: true`"
_IPROUTE2_SIZE: Final = 36
"""Bytes of `struct bpf_elf_map` of iproute2; `struct bpf_map_def` has 20 to 28."""


def problem(data: bytes, log: str, reason: str, place: Location) -> Problem:
    """The problem of an object that passed all checks and that libbpf does not open."""
    if "legacy map definitions" in log or "in section 'maps/" in log:  # `maps/NAME` is how Rust loaders called them
        what, hint = f"libbpf 1.x does not support maps in section `maps`: {_made_for(data)}", "define them in `.maps`"
        return Problem(what, place, f"{hint}, {_KEEP_LOADER}", id="legacy-maps")
    if static := re.search(r"program '([^']+)' is static", log):
        what = f"libbpf does not load static programs, such as `{static[1]}`: cilium/ebpf and iproute2 do"
        return Problem(what, place, f"compile it without `static`, {_KEEP_LOADER}", id="static-program")
    if extern := re.search(r"failed to find BTF for extern '([^']+)'", log):
        what = f"`{extern[1]}` is declared `extern`, and not defined: the loader of this object defines it"
        return Problem(what, place, f"link its definition (`bpftool gen object`), {_KEEP_LOADER}", id="extern-missing")
    if "BTF is required" in log or "can't find BTF" in log:
        return Problem("object has no BTF", place, "compile it with `-g`", id="btf-missing")
    if unsized := re.search("can't determine (key|value) size", log):
        hint = "clang omits a type from the BTF that only an inner map uses: use it in a global variable too"
        what = f"libbpf cannot determine the size of a {unsized[1]}: {_last_line(log)}"
        return Problem(what, place, hint, id="malformed-btf")
    what = f"libbpf cannot read this object: {_last_line(log) or reason}"
    hint = "check that it is a BPF object; a newer libbpf, named by PROVISIONER_LIBBPF, may be able to read it"
    return Problem(what, place, hint, id="malformed-object")


def _made_for(data: bytes) -> str:
    """The loader that the definitions in section `maps` are for, by their size."""
    sizes = symbols_in(ElfFile.parse(data), "maps")
    if len(sizes) and int(np.min(sizes)) >= _IPROUTE2_SIZE:
        return "the object is made for iproute2 (`struct bpf_elf_map`)"
    return "the object is made for libbpf before 1.0 or a Go loader (`struct bpf_map_def`)"


def _last_line(log: str) -> str:
    return log.strip().splitlines()[-1] if log.strip() else ""
