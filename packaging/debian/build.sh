#!/usr/bin/env bash
# Builds the Debian package into a directory: packaging/debian/build.sh DIR
#
# Debian 12 has older versions of typer, jsonschema and NumPy than the project needs, and no msgspec. So the package
# contains its Python libraries in a private directory, which no other program sees. libbpf and Python are Debian's.
# The settings of pip (PIP_FIND_LINKS, PIP_NO_INDEX) say where the libraries come from. COMPRESSION is dpkg-deb's -Z.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
output=${1:?usage: build.sh DIR}
python=${PYTHON:-/usr/bin/python3}
maintainer='Maintainers of bpf-provisioner <bpf-provisioner@lists.example.org>'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
library=$tree/usr/lib/provisioner
shared=$tree/usr/share
documents=$shared/doc/bpf-provisioner

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source/provisioner/__init__.py")
this=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
next=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
released=$(sed -n "s/^## \[$version\] - //p" "$source/CHANGELOG.md")

install_libraries() {
    "$python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        --target "$library" "${source}[metrics]"
    # The copyright file has the licences.
    "$python" "$source/packaging/debian/copyright.py" "$library" >"$work/copyright"
    rm -rf "${library:?}/bin" "$library/share"
    # Tests, development files and documentation of the libraries, and records of this build.
    find "$library" -type d \( -name tests -o -name include -o -name f2py -o -name distutils -o -name .agents -o -name licenses \) \
        -prune -exec rm -rf {} +
    find "$library" -type f \( -name '*_tests.*.so' -o -name 'conftest.py' -o -name '*.a' -o -name '*.pyi' -o -name '*.pc' \
        -o -name 'LICENSE*' -o -name 'API_CHANGES.txt' -o -name 'README*' \
        -o -path '*.dist-info/entry_points.txt' -o -path '*.dist-info/top_level.txt' \
        -o -path '*.dist-info/RECORD' -o -path '*.dist-info/direct_url.json' \
        -o -path '*.dist-info/INSTALLER' -o -path '*.dist-info/REQUESTED' \) -delete
    find "$library" -type d -empty -delete
    find "$library" -name '*.so*' -type f -exec chmod 644 {} +
    # strip breaks the segments of libraries that auditwheel has patched: those in *.libs stay as they are.
    find "$library" -name '*.so' -type f ! -path '*.libs/*' -exec strip --strip-unneeded --remove-section=.comment {} +
    PYTHONPATH=$library PYTHONDONTWRITEBYTECODE=1 "$python" -c 'import msgspec, numpy, numpy.linalg, rpds, yaml._yaml'
    # Modules that were scripts once are not executable here.
    find "$library" -name '*.py' -type f -exec sed -i '1{/^#!/d}' {} + -exec chmod 644 {} +
}

install_command() {
    install -d "$tree/usr/bin"
    cat >"$tree/usr/bin/provisioner" <<'PYTHON'
#!/usr/bin/python3 -sE
"""The command of the package. Its libraries are in ../lib/provisioner."""
import os.path
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib", "provisioner"))
from provisioner.__main__ import command

command()
PYTHON
    chmod 755 "$tree/usr/bin/provisioner"
}

# completion SHELL FILE: the script that the command itself writes for this shell.
completion() {
    install -d "$(dirname "$2")"
    PYTHONPATH=$library PYTHONDONTWRITEBYTECODE=1 _PROVISIONER_COMPLETE=source_$1 \
        "$python" -c 'import sys; sys.argv[0] = "provisioner"; from provisioner.__main__ import command; command()' |
        sed '/./,$!d' >"$2" # zsh reads `#compdef` only in the first line
    grep -q _PROVISIONER_COMPLETE "$2"
}

install_files() {
    install -D -m 644 -t "$tree/usr/lib/systemd/system" "$source"/integrations/systemd/*
    install -D -m 644 "$source/packaging/debian/default" "$tree/etc/default/provisioner"
    install -d -m 700 "$tree/etc/provisioner"
    install -D -m 644 -t "$shared/bpf-provisioner/schemas" "$source"/schemas/*.json
    install -D -m 644 -t "$shared/bpf-provisioner/prometheus" "$source"/integrations/prometheus/*.yml
    completion bash "$shared/bash-completion/completions/provisioner"
    completion zsh "$shared/zsh/vendor-completions/_provisioner"
    completion fish "$shared/fish/vendor_completions.d/provisioner.fish"
    install -d "$documents" "$shared/man/man1"
    gzip -9n <"$source/man/provisioner.1" >"$shared/man/man1/provisioner.1.gz"
    gzip -9n <"$source/CHANGELOG.md" >"$documents/CHANGELOG.md.gz"
    install -m 644 -t "$documents" "$source/README.md"
    install -m 644 "$work/copyright" "$documents/copyright"
    install -D -m 644 "$source/packaging/debian/lintian-overrides" "$shared/lintian/overrides/bpf-provisioner"
    gzip -9n >"$documents/changelog.gz" <<CHANGELOG
bpf-provisioner ($version) stable; urgency=medium

  * CHANGELOG.md.gz has the changes.

 -- $maintainer  $(date --utc --rfc-email --date "${released:-1970-01-01}")
CHANGELOG
}

write_control() {
    install -d "$tree/DEBIAN"
    install -m 755 -t "$tree/DEBIAN" "$source"/packaging/debian/{postinst,prerm,postrm}
    echo /etc/default/provisioner >"$tree/DEBIAN/conffiles"
    (cd "$tree" && find usr -type f -exec md5sum {} + | sort -k 2) >"$tree/DEBIAN/md5sums"
    cat >"$tree/DEBIAN/control" <<CONTROL
Package: bpf-provisioner
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude DEBIAN "$tree" | cut -f1)
Depends: python3 (>= $this), python3 (<< $next), libbpf1 (>= 1:1.1), libc6 (>= 2.28), libgcc-s1, libstdc++6
Suggests: bpftool, prometheus
Section: net
Priority: optional
Description: declare BPF maps-in-maps in YAML and apply them
 A spec in YAML declares outer maps, inner maps and their entries. The
 provisioner compares it with the live kernel, shows the differences, and
 applies them. A second run changes nothing.
 .
 The package has systemd units that apply a spec at boot, periodically, or
 whenever its files or the live maps change.
CONTROL
}

install_libraries
install_command
install_files
write_control
install -d "$output"
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$tree" "$output" >/dev/null
printf '%s\n' "$output/bpf-provisioner_${version}_$(dpkg --print-architecture).deb"
