"""Loading libbpf: what is missing or too old is said clearly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import provisioner
from provisioner.kernel import binding, libbpf

CHECKOUT = Path(provisioner.__file__).parents[1]


def run_with(library: str) -> str:
    """What a fresh process says that is told to use `library`."""
    script = (
        "from provisioner.model.errors import HostError\n"
        "from provisioner.kernel import libbpf\n"
        "try: libbpf.map_freeze(-1)\n"
        "except HostError as error: print(error.exit_code, error)\n"
    )
    environment = os.environ | {"PROVISIONER_LIBBPF": library, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def library_of(tmp_path: Path, source: str) -> str:
    """A shared library made of C text."""
    code, made = tmp_path / "fake.c", tmp_path / "fake.so"
    code.write_text(source)
    subprocess.run(["clang", "-shared", "-fPIC", "-o", str(made), str(code)], check=True)
    return str(made)


def test_version_is_new_enough() -> None:
    assert libbpf.version() >= binding.OLDEST


def test_a_missing_library_names_the_package() -> None:
    said = run_with("/nowhere/libbpf.so.1")
    assert said.startswith("5 cannot load libbpf: /nowhere/libbpf.so.1")
    assert "install libbpf 1.1 or later" in said


def test_an_old_library_is_refused(tmp_path: Path) -> None:
    source = "unsigned libbpf_major_version(void) { return 1; } unsigned libbpf_minor_version(void) { return 0; }"
    assert run_with(library_of(tmp_path, source)).startswith("5 libbpf 1.0 is too old")


def test_a_missing_symbol_is_named(tmp_path: Path) -> None:
    source = "unsigned libbpf_major_version(void) { return 1; } unsigned libbpf_minor_version(void) { return 9; }"
    said = run_with(library_of(tmp_path, source))
    assert said.startswith("5 libbpf has no libbpf_set_print")
    assert "1.1" in said
