#!/usr/bin/python
# Apache License 2.0 (see LICENSE at the top of the project)
"""The module that reads the live maps of a project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maps_facts
short_description: Read the live BPF maps of a project
version_added: "0.2.0"
author: The provisioner's contributors (@bpf-provisioner)
description:
  - Runs C(provisioner show) for the spec files of one project and sets the fact RV(ansible_facts.bpf_maps), decoded
    with the types of the spec. It changes nothing.
  - All entries of a million-entry project are 28 MB of facts. Limit them with O(address) or O(entries).
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: There are no differences to show.
  facts:
    support: full
    description: Sets facts.
options:
  files:
    description: Spec files or directories of one project, on the host.
    type: list
    elements: path
    required: true
  overlays:
    description: Files on the host that override parts of the spec. A later one overrides an earlier one.
    type: list
    elements: path
    default: []
  address:
    description: Read only this map, inner map or entry, for example V(tenants[42]).
    type: str
    version_added: "0.3.0"
  entries:
    description: Include the entries of maps. Without them, C(count) gives their number.
    type: bool
    default: true
    version_added: "0.3.0"
  variables:
    description: Values for variables of the spec by name, which override those of the spec.
    type: dict
    default: {}
    version_added: "0.3.0"
  pin_root:
    description: The pin directory. It overrides the one of the spec.
    type: path
  allow_outside:
    description: Allow the spec to name files outside its directory.
    type: bool
    default: false
  executable:
    description: The provisioner command.
    type: path
    default: provisioner
seealso:
  - module: bpf.provisioner.maps
"""

EXAMPLES = r"""
- name: Read the shape of all maps
  bpf.provisioner.maps_facts:
    files: [/etc/provisioner/edge.yaml]
    entries: false

- name: Print the addresses of the maps
  ansible.builtin.debug:
    msg: "{{ ansible_facts.bpf_maps.edge.maps | map(attribute='address') }}"

- name: Read one tenant
  bpf.provisioner.maps_facts:
    files: [/etc/provisioner/edge.yaml]
    address: tenants[42]
"""

RETURN = r"""
ansible_facts:
  description: The live maps.
  returned: always
  type: dict
  contains:
    bpf_maps:
      description: By the name of the project, the output of C(provisioner show --format json --full).
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bpf.provisioner.plugins.module_utils import command


def without_entries(shown):
    """A map as it is shown, and its inner maps, without their entries."""
    kept = {name: value for name, value in shown.items() if name != "entries"}
    if "inner_maps" in kept:
        kept["inner_maps"] = [without_entries(inner) for inner in kept["inner_maps"]]
    return kept


def main():
    """Show one project."""
    argument_spec = dict(command.SPEC)
    argument_spec.update({"address": {"type": "str"}, "entries": {"type": "bool", "default": True}})
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    words = command.arguments(module.params, ["--full"])
    if module.params["address"]:
        words.append(module.params["address"])
    status, document, errors = command.run(module, "show", words)
    if status != 0 or document is None:
        module.fail_json(msg=command.in_words(errors), errors=errors, rc=status)
    if not module.params["entries"]:
        document["maps"] = [without_entries(shown) for shown in document["maps"]]
    module.exit_json(changed=False, ansible_facts={"bpf_maps": {document["project"]: document}})


if __name__ == "__main__":
    main()
