#!/usr/bin/env bash
# Installs what the targets of the Makefile need: Debian packages, and the project in .venv.
#
#   scripts/setup.sh [--print] GROUP...
#
# Groups: demo (run the tool and compile BPF), lint (linters and documentation), test (everything but the next five),
# kernels (boot other kernels), recipes (Salt and Puppet), editor (a language server and pyright), collection (ansible-lint), cluster
# (build and run Kubernetes). --print lists what the groups need and installs nothing. A second run changes nothing. A
# later run with another group extends the same .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

python=
venv=.venv
promtool=build/tools/promtool
salt=build/salt
node=build/node
ansible=build/ansible

packages=(python3-venv)
tools=() # the commands to look for where the packages have other names
requirement=.
extras=()

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

usage() {
    printf 'usage: scripts/setup.sh [--print] {demo,lint,test,kernels,recipes,editor,collection,cluster}...\n' >&2
    exit 64
}

need_demo() {
    packages+=(
        libbpf1 libelf1                           # run: load objects, create maps
        clang libbpf-dev linux-libc-dev           # compile bpf/*.bpf.c
        bpftool iproute2 iputils-ping util-linux  # the demo: namespaces, a second view of the maps, ping, nsenter
    )
    tools+=(clang bpftool ip ping nsenter)
}

need_lint() {
    requirement='.[dev]'
}

need_test() {
    need_demo
    need_lint
    packages+=(
        strace gcc libc6-dev # tests trace system calls and make some fail; the benchmarks are in C
        git systemd          # tests of the watch and of the units
        mandoc               # the manual page
        chromium graphviz    # HTML reports and drawings
        lintian              # the Debian package
        zsh fish             # completion in real shells
    )
    tools+=(strace gcc git systemd-analyze mandoc chromium dot zsh fish)
    extras+=(promtool)
}

need_kernels() {
    need_test
    packages+=(qemu-system-x86 busybox-static)
    # Later Debian releases have virtiofsd in its own package.
    [[ -z $(apt-cache --names-only search '^virtiofsd$' 2>/dev/null) ]] || packages+=(virtiofsd)
    tools+=(qemu-system-x86_64 busybox)
}

need_editor() {
    need_lint
    extras+=(language-server pyright)
}

need_collection() {
    packages+=(git)
    tools+=(git)
    extras+=(ansible-lint)
}

# Debian 12: later releases have no Go that compiles Kubernetes 1.20.
need_cluster() {
    packages+=(
        golang-1.19-go dpkg-dev binutils              # compile Kubernetes, and build the Debian package
        mmdebstrap busybox-static                     # images
        bpftool iproute2 util-linux openssl libbpf1   # nodes
    )
    tools+=(bpftool ip nsenter openssl busybox mmdebstrap)
}

need_recipes() {
    need_test
    packages+=(puppet-agent)
    tools+=(puppet)
    extras+=(salt)
}

print_needs() {
    printf 'package %s\n' "${packages[@]}" | sort -u
    printf 'python %s\n' "$requirement"
    ((${#extras[@]} == 0)) || printf 'extra %s\n' "${extras[@]}" | sort -u
}

missing_packages() {
    local package installed
    # Later Debian releases name some libraries with the suffix t64: libelf1t64.
    installed=$(dpkg-query -W -f '${Status} ${Package}\n' "${packages[@]}" "${packages[@]/%/t64}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qE "^install ok installed $package(t64)?$" <<<"$installed" || printf '%s\n' "$package"
    done | sort -u
}

install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        command -v sudo >/dev/null || die "run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    printf 'setup: installing %s\n' "${missing[*]}"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0)
    # The package lists of a new machine are missing or old. Fetch them only if the first try fails.
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null 2>/dev/null && return
    "${apt[@]}" update </dev/null
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null
}

require_tools() {
    local tool missing=()
    for tool in "${tools[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || die "this is not Debian: install ${missing[*]}, and libbpf 1.1 or later with its headers"
}

# The Python of the distribution comes first: it is compiled with profile-guided optimization, which one that a version
# manager compiles is often not. The tests then take a fifth longer.
choose_python() {
    local candidate
    for candidate in ${PYTHON:-/usr/bin/python3 python3}; do
        command -v "$candidate" >/dev/null || continue
        python=$candidate
        ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || return 0
    done
    [[ $python ]] || die "there is no ${PYTHON:-python3}: Python 3.11 or later is required"
    die "$("$python" --version) is too old: Python 3.11 or later is required. Set PYTHON to another interpreter"
}

pip_install() {
    local environment=$1
    shift
    [[ -x $environment/bin/python ]] || "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@" </dev/null
}

# A stamp is newer than what it was installed from. The full stamp covers the small requirement too.
install_project() {
    local full=$venv/.installed small=$venv/.installed-base stamp
    stamp=$full
    [[ $requirement == '.[dev]' || $full -nt pyproject.toml ]] || stamp=$small
    [[ ! $stamp -nt pyproject.toml ]] || return 0
    pip_install "$venv" --editable "$requirement"
    touch "$stamp"
    printf 'setup: %s is ready\n' "$venv/bin/provisioner"
}

# Debian's package `prometheus` starts a server. The tests need one command of it.
install_promtool() {
    ! command -v promtool >/dev/null && [[ ! -x $promtool ]] || return 0
    command -v apt-get >/dev/null || die "this is not Debian: install promtool (Prometheus)"
    local work status=0
    work=$(mktemp -d)
    (
        cd "$work"
        apt-get -qq -o APT::Sandbox::User=root download prometheus </dev/null
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    ) || status=$?
    ((status)) || install -D "$work/usr/bin/promtool" "$promtool"
    rm -rf "$work"
    ((status == 0)) || die "promtool cannot be fetched: apt-get download prometheus failed"
}

# Salt needs old versions of libraries that the project needs in newer ones.
install_salt() {
    [[ -x $salt/bin/salt-call ]] || pip_install "$salt" salt
}

install_ansible-lint() {
    [[ -x $ansible/bin/ansible-lint ]] || pip_install "$ansible" ansible-lint
}

# Pinned: what they report differs between releases. Debian's npm needs Debian's node: another node brings its own npm.
install_from_npm() {
    local name=$1 version=$2
    [[ ! -x $node/node_modules/.bin/$name ]] || return 0
    if ! command -v npm >/dev/null; then
        packages=(nodejs npm)
        install_packages
    fi
    npm install --prefix "$node" --no-audit --no-fund --silent "$name@$version" </dev/null
}

install_language-server() {
    install_from_npm yaml-language-server 1.15.0
}

install_pyright() {
    install_from_npm pyright 1.1.414
}

main() {
    local print=no group extra
    [[ ${1-} != --print ]] || { print=yes && shift; }
    (($#)) || usage
    for group; do
        case $group in
            demo | lint | test | kernels | recipes | editor | collection | cluster) "need_$group" ;;
            *) usage ;;
        esac
    done
    if [[ $print == yes ]]; then
        print_needs
        return
    fi
    # Targets of one `make -j` wait for each other.
    [[ ${SETUP_LOCKED-} ]] || SETUP_LOCKED=yes exec flock --close scripts/setup.sh scripts/setup.sh "$@"
    if command -v dpkg-query >/dev/null; then
        install_packages
    else
        require_tools
    fi
    choose_python
    install_project
    for extra in "${extras[@]}"; do "install_$extra"; done
}

main "$@"
