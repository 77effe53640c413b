#!/usr/bin/env bash
# The demo: two network namespaces, a veth pair between them, and an XDP router that one spec describes.
# It prints each command, checks the result, and removes all that it has created, also after a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

repo=$PWD
router=prov-demo-a
client=prov-demo-b
bpffs=/sys/fs/bpf
pins=$bpffs/edge-demo # `name` in examples/edge.yaml
work=
backends_pid=
mounted=
bold=
plain=
[[ ! -t 1 ]] || { bold=$'\033[1m'; plain=$'\033[0m'; }
export PATH=$repo/.venv/bin:$PATH:/usr/sbin:/sbin

die() {
    printf '\ndemo: %s\n' "$*" >&2
    exit 1
}

title() {
    printf '\n%s== %s%s\n' "$bold" "$1" "$plain"
    shift
    (($# == 0)) || printf '%s\n' "$@"
}

# A command as a user types it, with quotes where the shell needs them.
typed() {
    local word
    for word; do
        [[ $word =~ ^[[:alnum:]_./:=@,+-]+$ ]] || word=${word@Q}
        printf ' %s' "$word"
    done
}

# expect STATUS PROMPT COMMAND...: print the command, run it in the namespace of the prompt, check its exit status.
expect() {
    local wanted=$1 prompt=$2 status=0 enter=()
    shift 2
    case $prompt in
        router) enter=(nsenter "--net=/run/netns/$router") ;;
        client) enter=(nsenter "--net=/run/netns/$client") ;;
        *) prompt= ;;
    esac
    printf '\n%s$%s\n' "$prompt" "$(typed "$@")"
    "${enter[@]}" "$@" || status=$?
    ((status == wanted)) || die "expected exit status $wanted, got $status: $*"
    ((status == 0)) || printf '(exit status %d)\n' "$status"
}

answers() { expect 0 client ping -c1 -W10 -q -I "$1" 192.0.2.1; }
is_dropped() { expect 1 client ping -c1 -W1 -q -I "$1" 192.0.2.1; }

# is_answered_by SOURCE PORT: the backend on this port answers for the virtual address.
is_answered_by() {
    expect 0 client python scripts/udp.py ask "$1" 198.51.100.1 53 | tee "$work/answer"
    grep -q "is answered by 192.0.2.1:$2\$" "$work/answer" || die "expected the backend on port $2"
}

# Note the ids of the demo's maps and inner maps. Other programs on this host may create maps meanwhile.
note_maps() {
    local pin print='for one in json.load(sys.stdin)["maps"]: [print(inner["id"]) for inner in one.get("inner_maps", [])]'
    {
        for pin in "$pins"/*; do
            bpftool map show pinned "$pin" 2>/dev/null | sed -n '1s/:.*//p' || true # not a map
        done
        nsenter "--net=/run/netns/$router" provisioner show --format json examples/edge.yaml |
            python -c "import json, sys
$print"
    } >>"$work/maps"
}

maps_left() {
    local id
    sort -u "$work/maps" | while read -r id; do
        ! bpftool map show id "$id" 2>/dev/null || true
    done
}

# The kernel frees the maps of a program a moment after its last reference is gone.
expect_no_maps_left() {
    for _ in {1..50}; do
        [[ -n $(maps_left) ]] || return 0
        sleep 0.1
    done
    die "maps are left:" "$(maps_left)"
}

remove_all() {
    if [[ -n $backends_pid ]]; then
        kill "$backends_pid" 2>/dev/null || true
        wait "$backends_pid" 2>/dev/null || true
    fi
    # The pin is the last reference to the link, and the link is the last one to the program.
    rm -rf "$pins"
    local name
    for name in "$router" "$client"; do
        ip netns delete "$name" 2>/dev/null || true
    done
    if [[ -n $mounted && -z $(find "$bpffs" -mindepth 1 ! -name '*.debug' -print -quit) ]]; then
        umount "$bpffs" || true
    fi
    [[ -z $work ]] || rm -rf "$work"
}

prepare() {
    title "Two hosts" \
        "A router and a client, each in a network namespace, joined by a veth pair. The prompt shows where a command runs:" \
        "  router\$   nsenter --net=/run/netns/$router ..." \
        "  client\$   nsenter --net=/run/netns/$client ..."
    if [[ $(stat -f -c %T "$bpffs") != bpf_fs ]]; then
        expect 0 root mount -t bpf -o mode=0700 bpf "$bpffs"
        mounted=yes
    fi
    rm -rf "$pins" # left by a demo that was killed
    ip netns delete "$router" 2>/dev/null || true
    ip netns delete "$client" 2>/dev/null || true

    expect 0 root ip netns add "$router"
    expect 0 root ip netns add "$client"
    expect 0 root ip link add veth-demo-a netns "$router" type veth peer name veth-demo-b netns "$client"
    expect 0 router ip address add 192.0.2.1/24 dev veth-demo-a
    expect 0 router ip link set veth-demo-a up
    expect 0 client ip address add 192.0.2.10/24 dev veth-demo-b
    expect 0 client ip address add 192.0.2.66/24 dev veth-demo-b
    expect 0 client ip link set veth-demo-b up
    expect 0 client ip route add 198.51.100.1 via 192.0.2.1

    exec {ready}< <(exec nsenter "--net=/run/netns/$router" \
        setpriv --pdeathsig KILL python scripts/udp.py serve 192.0.2.1 8001 8002)
    backends_pid=$!
    read -r -u "$ready" _ || die "the backends did not start"
    printf '\nTwo backends listen on the router: 192.0.2.1:8001 and 192.0.2.1:8002.\n'
}

first_apply() {
    title "Plan" "The spec describes the desired state. plan shows the difference and changes nothing."
    expect 0 root cat examples/edge.yaml
    expect 2 router provisioner plan examples/edge.yaml
    [[ ! -e $pins ]] || die "plan has created $pins"

    title "Apply" "apply loads the object, fills its maps, and attaches the program."
    expect 0 router provisioner apply --yes examples/edge.yaml
    note_maps

    title "Traffic" "The list of tenant 1 is active: 192.0.2.64/26 is denied, all else is allowed."
    answers 192.0.2.10
    is_dropped 192.0.2.66
    is_answered_by 192.0.2.10 8001
}

second_apply() {
    title "Edit, plan, apply" "Activate tenant 2, whose list is the opposite, and move the virtual address to port 8002."
    cp examples/edge.yaml before.yaml
    expect 0 root sed -i -e 's/entries: {0: 1}/entries: {0: 2}/' -e 's/port: 8001/port: 8002/' examples/edge.yaml
    expect 1 root diff before.yaml examples/edge.yaml
    expect 2 router provisioner plan examples/edge.yaml
    expect 0 router provisioner apply --yes examples/edge.yaml
    note_maps

    title "Traffic" "Now 192.0.2.66 is allowed and 192.0.2.10 is denied."
    answers 192.0.2.66
    is_dropped 192.0.2.10
    is_answered_by 192.0.2.66 8002
}

finish() {
    title "No changes" "A second run has nothing to do: the plan is empty."
    expect 0 router provisioner plan examples/edge.yaml

    title "Destroy" "destroy detaches the program and removes all pins."
    expect 0 router provisioner destroy --yes examples/edge.yaml
    [[ ! -e $pins ]] || die "destroy has not removed $pins"
    answers 192.0.2.10
    expect_no_maps_left
    printf '\nAll maps are gone and all packets pass again. The demo is complete.\n'
}

((EUID == 0)) || die "run as root: the demo creates network namespaces and loads BPF programs"
trap remove_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d)
# The demo edits the spec, so it works on a copy.
cp -r examples bpf scripts "$work"
cd "$work"

prepare
first_apply
second_apply
finish
