#!/usr/bin/env bash
# Makes .venv with the project in it, and installs the Debian packages that are missing.
# Run again, it looks and changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv
# Newer than what it was made from: nothing to do.
stamp=$venv/.installed

packages=(
    libbpf1 libelf1                           # to run: loading objects, creating maps
    clang libbpf-dev linux-libc-dev           # to compile bpf/*.bpf.c
    bpftool iproute2 iputils-ping util-linux  # the demo: namespaces, a second opinion on maps, ping, nsenter
    strace gcc libc6-dev                      # the tests trace system calls, and make some fail; the benchmarks are C
    git systemd                               # the tests of the watch: a real checkout, and checks of the units
    mandoc                                    # the tests look at the manual page
    chromium graphviz                         # the tests look at the pages of reports, and at drawings
    python3-venv
)

# `--kernels`: also what boots other kernels. Later Debians have virtiofsd in a package of its own.
if [[ ${1-} == --kernels ]]; then
    packages+=(qemu-system-x86 busybox-static)
    [[ -z $(apt-cache --names-only search '^virtiofsd$' 2>/dev/null) ]] || packages+=(virtiofsd)
fi

# `--recipes`: Puppet, and Salt in an environment of its own, for it asks for old versions of what others need.
[[ ${1-} != --recipes ]] || packages+=(puppet-agent)

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

missing_packages() {
    local package installed
    # Later Debians call a library libelf1t64 that is libelf1 here.
    installed=$(dpkg-query -W -f '${Status} ${Package}\n' "${packages[@]}" "${packages[@]/%/t64}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qE "^install ok installed $package(t64)?$" <<<"$installed" || printf '%s\n' "$package"
    done
}

install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        command -v sudo >/dev/null || die "as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    printf 'setup: installing %s\n' "${missing[*]}"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0)
    # A fresh machine has no package lists, or old ones: fetch them only when the first try says so.
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null 2>/dev/null && return
    "${apt[@]}" update </dev/null
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null
}

require_tools() {
    local tool missing=()
    for tool in clang bpftool ip ping nsenter strace; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || die "not a Debian: install ${missing[*]}, and libbpf 1.1 or later with its headers"
}

if command -v dpkg-query >/dev/null; then
    install_packages
else
    require_tools
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$("$python" --version) is too old: 3.11 or later is needed; name one with PYTHON=..."

if [[ ! -f $stamp || pyproject.toml -nt $stamp ]]; then
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]' </dev/null
    touch "$stamp"
    printf 'setup: %s is ready\n' "$venv/bin/provisioner"
fi

if [[ ${1-} == --recipes && ! -x build/salt/bin/salt-call ]]; then
    "$python" -m venv build/salt
    build/salt/bin/python -m pip install --quiet --disable-pip-version-check salt </dev/null
fi
