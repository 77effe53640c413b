#!/usr/bin/python
# Apache License 2.0 (see LICENSE at the top of the project)
"""The module that tells what is live of a project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maps_facts
short_description: Tell which BPF maps of a project are live
version_added: "0.2.0"
author: The provisioner's contributors (@bpf-provisioner)
description:
  - Runs C(provisioner show) for the spec files of one project, which changes nothing, and gives what is live, decoded
    with the spec's types, as the fact RV(ansible_facts.bpf_maps).
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing that could differ.
  facts:
    support: full
    description: Gives facts.
options:
  files:
    description: Spec files or folders of one project.
    type: list
    elements: path
    required: true
  overlays:
    description: Files that are laid over the spec in this order. What they say wins.
    type: list
    elements: path
    default: []
  pin_root:
    description: The pin directory, in place of the spec's.
    type: path
  allow_outside:
    description: Let the spec name files outside its folder.
    type: bool
    default: false
  executable:
    description: The provisioner's command.
    type: path
    default: provisioner
seealso:
  - module: bpf.provisioner.maps
"""

EXAMPLES = r"""
- name: Look at what is live
  bpf.provisioner.maps_facts:
    files: [/etc/provisioner/edge.yaml]

- name: Say how many tenants there are
  ansible.builtin.debug:
    msg: "{{ ansible_facts.bpf_maps.edge.maps | map(attribute='address') }}"
"""

RETURN = r"""
ansible_facts:
  description: What is live.
  returned: always
  type: dict
  contains:
    bpf_maps:
      description: By the project's name, what C(provisioner show --format json --full) tells of it.
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bpf.provisioner.plugins.module_utils import command


def main():
    """Show one project."""
    module = AnsibleModule(argument_spec=dict(command.SPEC), supports_check_mode=True)
    status, document, errors = command.run(module, "show", command.arguments(module.params, ["--full"]))
    if status != 0 or document is None:
        module.fail_json(msg=command.in_words(errors), errors=errors, rc=status)
    module.exit_json(changed=False, ansible_facts={"bpf_maps": {document["project"]: document}})


if __name__ == "__main__":
    main()
