#!/usr/bin/env bash
# Builds what scripts/test_cluster.py runs, into a cache directory: build_cluster.sh DIR
#
# Kubernetes 1.20 is built from the source package of Debian 12, because Debian has no binary packages of a control plane
# and a kubelet. The other programs are taken out of their packages, which would start services. What exists already is
# not built again. The image of the provisioner is rebuilt if its sources have changed. DIR/image has its name.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${1:?usage: build_cluster.sh DIR}
python=${PYTHON:-python3}
mirror=${MIRROR:-http://deb.debian.org/debian}
mkdir -p "$cache"
cache=$(realpath "$cache")
exec 9>"$cache/build.lock"
flock 9
mkdir -p "$cache"/{bin,cni,images}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

components=(kubelet kube-scheduler kube-controller-manager kube-apiserver)

# Sources come from a list of their own: many machines have no deb-src.
fetch_kubernetes() {
    local lists=$work/apt
    mkdir -p "$lists/partial"
    printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n' "$mirror" >"$work/sources.list"
    local apt=(apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$lists")
    "${apt[@]}" update
    mkdir -p "$work/go/src/k8s.io"
    (
        cd "$work/go/src/k8s.io"
        "${apt[@]}" source --download-only kubernetes
        dpkg-source --no-check -x kubernetes_*.dsc kubernetes >/dev/null
    )
}

# A GOPATH with the vendored libraries: nothing is downloaded. Cloud providers and Docker are left out: half of the time.
build_kubernetes() {
    export GOPATH=$work/go GOCACHE=$work/gocache GO111MODULE=off GOFLAGS='' CGO_ENABLED=0 PATH=/usr/lib/go-1.19/bin:$PATH
    local flags='-s -w -X k8s.io/component-base/version.gitVersion=v1.20.2' component
    (
        cd "$GOPATH/src/k8s.io/kubernetes"
        describe_api
        for component in "${components[@]}"; do
            echo "build_cluster: compiling $component"
            go build -tags 'providerless dockerless' -ldflags "$flags" -o "$work/$component" "./cmd/$component"
            mv "$work/$component" "$cache/bin/"
        done
    )
}

# The API server serves a description of its types, which the source package does not contain.
describe_api() {
    local packages
    go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    packages=$(find -L pkg plugin vendor/k8s.io -name testdata -prune -o -name '*.go' -print |
        grep -v -e '^vendor/k8s.io/code-generator/' -e '^vendor/k8s.io/sample-' |
        { xargs grep -l '+k8s:openapi-gen=' || true; } | # no file of the last part may match
        xargs -n1 dirname | sort -u | sed 's,^,k8s.io/kubernetes/,' | paste -sd,)
    "$work/openapi-gen" -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
        -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"
}

# take PACKAGE DIR PATH...: files of a package, without installing it.
take() {
    local package=$1 target=$2 path
    shift 2
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package")
    for path; do
        dpkg-deb --fsys-tarfile "$work/$package"_*.deb | tar -xO "./$path" >"$work/taken"
        install -m 755 "$work/taken" "$cache/$target/${path##*/}"
    done
}

# The image is Debian with Python, and the Debian package of the provisioner.
build_image() {
    local base=$cache/images/base.tar sources name
    if [[ ! -e $base ]]; then
        echo "build_cluster: an image of Debian"
        mmdebstrap --quiet --variant=minbase --include=python3,libbpf1 --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$work/base.tar" "$mirror"
        mv "$work/base.tar" "$base"
    fi
    sources=$(find provisioner packaging integrations/systemd schemas pyproject.toml -type f ! -name '*.pyc' -print0 |
        sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
    name=localhost/provisioner:$sources
    if [[ ! -e $cache/images/provisioner-$sources.tar ]]; then
        echo "build_cluster: $name"
        COMPRESSION=gzip PYTHON=/usr/bin/python3 packaging/debian/build.sh "$work/package" >/dev/null
        dpkg-deb --fsys-tarfile "$work"/package/*.deb >"$work/layer.tar"
        rm -f "$cache"/images/provisioner-*.tar
        "$python" scripts/image.py "$cache/images/provisioner-$sources.tar" "$name" "$base" "$work/layer.tar"
    fi
    printf '%s\n' "$name" >"$cache/image"
    if [[ ! -e $cache/images/pause.tar ]]; then
        tar -cf "$work/pause.layer" -C /bin busybox
        "$python" scripts/image.py "$cache/images/pause.tar" localhost/pause:1 "$work/pause.layer" -- /busybox sleep 2147483647
    fi
}

missing=()
for component in "${components[@]}"; do [[ -x $cache/bin/$component ]] || missing+=("$component"); done
if ((${#missing[@]})); then
    components=("${missing[@]}")
    fetch_kubernetes
    build_kubernetes
fi
[[ -x $cache/bin/kubectl ]] || take kubernetes-client bin usr/bin/kubectl
[[ -x $cache/bin/etcd ]] || take etcd-server bin usr/bin/etcd
[[ -x $cache/bin/ctr ]] || take containerd bin usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr
[[ -x $cache/bin/runc ]] || take runc bin usr/sbin/runc
[[ -x $cache/cni/ptp ]] || take containernetworking-plugins cni usr/lib/cni/loopback usr/lib/cni/host-local usr/lib/cni/ptp
build_image
