"""What has taken the place of a file is said once, by its first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest

from provisioner.files.content import conflict_line, foreign


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("edge.yaml", "version: 1\n")
    return data.getvalue()


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("edge.yaml"))
    return data.getvalue()


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (gzip.compress(b"version: 1\n", mtime=0), "gunzip"),
        (bz2.compress(b"version: 1\n"), "bunzip2"),
        (lzma.compress(b"version: 1\n"), "unxz"),
        (b"\x28\xb5\x2f\xfd\x24", "unzstd"),
        (zipped(), "unzip"),
        (tarred(), "tar -xf"),
        (b"\x7fELF\x02\x01\x01", "provisioner init"),
        (b"%PDF-1.7\n", "check the path"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6432", "ansible-vault decrypt"),
        (b"-----BEGIN PGP MESSAGE-----\n", "decrypt"),
        (b"/annex/objects/SHA256E-s3--a.yaml\n", "git annex get"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n <!DOCTYPE html>", "downloaded"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",  # compressed data has the time in it
)
def test_what_a_file_is_instead(begin: bytes, says: str) -> None:
    found = foreign(begin[:512])
    assert found is not None
    assert says in found.hint


@pytest.mark.parametrize(
    "begin", [b"", b"version: 1\n", b"\xef\xbb\xbfversion: 1\n", b"key,value\n", b"BZh,1\n", b"PAR1"]
)
def test_an_ordinary_file(begin: bytes) -> None:
    assert foreign(begin) is None


def test_a_row_of_bars_is_a_marker_unless_it_can_be_data() -> None:
    data = b"a|b|c|d|e|f|g|h\n||||||| 1\n"
    assert conflict_line(io.BytesIO(data)) == 2
    assert conflict_line(io.BytesIO(data), has_bars=True) == 0
