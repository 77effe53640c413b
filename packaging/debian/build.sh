#!/usr/bin/env bash
# Builds the Debian package into a folder: packaging/debian/build.sh DIR
#
# What Debian 12 has of typer, jsonschema, NumPy and rich is older than what is needed, and of msgspec it has nothing. So
# the package brings them in a folder of its own, where they meet no other program's; libbpf and Python are Debian's.
# Pip's own settings (PIP_FIND_LINKS, PIP_NO_INDEX) say where they come from, COMPRESSION how the package is packed.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
output=${1:?usage: build.sh DIR}
python=${PYTHON:-/usr/bin/python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
library=$tree/usr/lib/provisioner
documents=$tree/usr/share/doc/bpf-provisioner
install -d "$tree/DEBIAN" "$tree/usr/bin" "$library" "$documents"
install -d -m 700 "$tree/etc/provisioner"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source/provisioner/__init__.py")
next=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
this=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$library" "$source[metrics]"
rm -rf "$library/bin" "$library/share"
find "$library" -type d -name tests -prune -exec rm -rf {} +
# Paths as they will be once it is installed.
"$python" -m compileall -q --invalidation-mode unchecked-hash -s "$tree" -p / "$library"

cat >"$tree/usr/bin/provisioner" <<'PYTHON'
#!/usr/bin/python3 -sE
"""The command of the package: what it needs stands beside it in lib/provisioner."""
import os.path
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib", "provisioner"))
from provisioner.__main__ import main

sys.exit(main())
PYTHON
chmod 755 "$tree/usr/bin/provisioner"
install -D -m 644 -t "$tree/usr/lib/systemd/system" "$source"/integrations/systemd/*
install -m 644 "$source/LICENSE" "$documents/copyright"
install -m 644 "$source/README.md" "$documents/README.md"
gzip -9n <"$source/CHANGELOG.md" >"$documents/changelog.gz"
install -d "$tree/usr/share/man/man1"
gzip -9n <"$source/man/provisioner.1" >"$tree/usr/share/man/man1/provisioner.1.gz"

cat >"$tree/DEBIAN/control" <<CONTROL
Package: bpf-provisioner
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The provisioner's contributors <bpf-provisioner@localhost>
Installed-Size: $(du -sk "$tree" | cut -f1)
Depends: python3 (>= $this), python3 (<< $next), libbpf1 (>= 1:1.1)
Suggests: bpftool
Section: net
Priority: optional
Description: declare BPF maps-in-maps in YAML; plan, apply and destroy them
 It compares a description of outer maps, inner maps and their entries with the
 live kernel, shows the difference, and applies it; run again, it does nothing.
CONTROL

install -d "$output"
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$tree" "$output" >/dev/null
printf '%s\n' "$output/bpf-provisioner_${version}_$(dpkg --print-architecture).deb"
