"""What a kernel's configuration tells."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from provisioner.doctor import kernel_config

TEXT = "\n".join(f"CONFIG_{option}=y" for option in kernel_config.FOLLOWS if option not in ("XDP_SOCKETS", "INET"))
TEXT += '\n# CONFIG_XDP_SOCKETS is not set\nCONFIG_INET=m\nCONFIG_LSM="bpf"\n'


@pytest.mark.parametrize("name", ["config.gz", "config-6.1.0-56-cloud-amd64"])
def test_options_are_on_off_or_modules(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXT.encode()) if path.suffix == ".gz" else TEXT.encode())
    config = kernel_config.read((tmp_path / "none", path))
    assert config is not None
    assert (config[0], [option for option, chosen in config[1].items() if not chosen]) == (path, ["XDP_SOCKETS"])


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8bno",
        b"no",
        gzip.compress(b"CONFIG_NET=y", mtime=0)[:-9],
        gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20,
    ],
    ids=["header", "text", "cut", "deflated"],
)
def test_what_is_recorded_nowhere_or_broken_is_not_guessed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.gz").write_bytes(data)
    assert kernel_config.read((tmp_path / "config.gz", tmp_path / "none")) is None


def test_the_kernel_s_own_word_comes_first() -> None:
    assert [str(path) for path in kernel_config.places("6.1")][:2] == ["/proc/config.gz", "/boot/config-6.1"]
