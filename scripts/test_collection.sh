#!/usr/bin/env bash
# Runs ansible-lint (profile production) and ansible-test sanity on the Ansible collection: test_collection.sh VENV
#
# VENV is a virtual environment with ansible-lint. ansible-test creates environments of its own for its tools. Both need
# the collection in a Git repository at ansible_collections/bpf/provisioner, with files in place of links out of it.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath "${1:?usage: test_collection.sh VENV}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
collection=$work/ansible_collections/bpf/provisioner
mkdir -p "$(dirname "$collection")"
cp -rL integrations/ansible "$collection"
find "$collection" -name __pycache__ -prune -exec rm -rf {} +
cd "$collection"
git init -q .
git add -A
PATH=$venv/bin:$PATH

status=0
ansible-lint --offline --nocolor --profile production || status=1
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ansible-test sanity --color no --python "$version" --requirements || status=1
exit "$status"
