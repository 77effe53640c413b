#!/usr/bin/python
# Apache License 2.0 (see LICENSE at the top of the project)
"""The module that brings the maps of a host to the state of a spec."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maps
short_description: Bring BPF maps-in-maps to the state of a spec
version_added: "0.2.0"
author: The provisioner's contributors (@bpf-provisioner)
description:
  - Runs C(provisioner apply) for the spec files of one project. The files are on the host already (O(files)), or they
    are on the controller (O(src) or O(content)).
  - In check mode it runs C(provisioner plan) with the same files, and reports changed exactly if a run would change
    something. Files of the controller are read from a temporary directory and O(dest) is not written.
  - What apply would refuse, a limit of deletes for example, fails in check mode too.
  - In diff mode it shows the keys that differ, with their values before and after. Sensitive values are hidden.
attributes:
  action:
    support: full
    description: The part of the controller reads O(src), O(overlays_src), O(data_src) and O(content).
  async:
    support: partial
    description: Not with files of the controller.
  check_mode:
    support: full
    description: Plans, and writes nothing.
  diff_mode:
    support: full
    description: Shows the decoded changes of the maps. Contents of spec files are not shown.
options:
  files:
    description: Spec files or directories of one project, on the host.
    type: list
    elements: path
    default: []
  overlays:
    description: Files on the host that override parts of the spec. A later one overrides an earlier one.
    type: list
    elements: path
    default: []
  src:
    description:
      - Spec files or directories of one project, on the controller. They are looked up as in M(ansible.builtin.copy).
      - They are installed into O(dest) under their own names, unless the plan is refused. A directory is mirrored, so
        files that it has only on the host are removed.
    type: list
    elements: path
    version_added: "0.3.0"
  overlays_src:
    description: Files on the controller that override parts of the spec. They are installed too.
    type: list
    elements: path
    version_added: "0.3.0"
  data_src:
    description: Files or directories on the controller that the spec names, such as tables and object files.
    type: list
    elements: path
    version_added: "0.3.0"
  content:
    description: The spec itself, as text or as YAML in the playbook. O(dest) is the file for it.
    type: raw
    version_added: "0.3.0"
  dest:
    description:
      - The directory on the host for the files of the controller. With O(content), the path of the spec file.
      - The default with O(src) is V(/etc/provisioner).
    type: path
    version_added: "0.3.0"
  _carried:
    description:
      - The archive with the files of the controller. The part of the controller sets it; a task must not.
    type: dict
    version_added: "0.3.0"
  state:
    description:
      - V(present) brings the maps to the state of the spec.
      - V(absent) detaches and unpins all that the project owns. Files in O(dest) stay as they are.
    type: str
    choices: [present, absent]
    default: present
  variables:
    description: Values for variables of the spec by name, which override those of the spec.
    type: dict
    default: {}
    version_added: "0.3.0"
  pin_root:
    description: The pin directory. It overrides the one of the spec.
    type: path
  approve_deletes:
    description: Exceed the limits of deletes that the spec sets.
    type: bool
    default: false
  allow_recreate:
    description: Recreate live maps that cannot be changed in place.
    type: bool
    default: false
  take_over:
    description: Take over pins that another project created.
    type: bool
    default: false
  prune:
    description: Remove pins that the spec does not name.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait while another process holds the lock.
    type: float
    default: 30
  allow_outside:
    description: Allow the spec to name files outside its directory.
    type: bool
    default: false
  executable:
    description: The provisioner command.
    type: path
    default: provisioner
seealso:
  - module: bpf.provisioner.maps_facts
"""

EXAMPLES = r"""
- name: Apply the spec of the fleet with the overlays of this site and this host
  bpf.provisioner.maps:
    src: [fleet/base.yaml]
    overlays_src:
      - fleet/sites/{{ site }}.yaml
      - fleet/hosts/{{ inventory_hostname }}.yaml
    data_src: [fleet/acl.csv]

- name: Apply a spec that a template makes
  bpf.provisioner.maps:
    content: "{{ lookup('ansible.builtin.template', 'edge.yaml.j2') }}"
    dest: /etc/provisioner/edge.yaml

- name: Apply a spec that is on the host
  bpf.provisioner.maps:
    files: [/etc/provisioner/edge.yaml]

- name: Destroy all maps of the project
  bpf.provisioner.maps:
    files: [/etc/provisioner/edge.yaml]
    state: absent
"""

RETURN = r"""
digest:
  description: The digest of the plan. The same spec and live state give the same digest.
  type: str
  returned: if there is a plan
summary:
  description: How many outer maps, inner maps, entries and programs are to create, change and delete.
  type: dict
  returned: if there is a plan
changes:
  description: Each difference, with address, action, reason, before and after. Long lists are cut.
  type: list
  elements: dict
  returned: if there is a plan
hazards:
  description: Consequences of the change to know before it is made.
  type: list
  elements: dict
  returned: if there is a plan
result:
  description: How the apply ended.
  type: dict
  returned: not in check mode
files_changed:
  description: Names of files in O(dest) that differ from those of the controller.
  type: list
  elements: str
  returned: with files of the controller
errors:
  description: The errors, each with its stable id, file, line, message and hint.
  type: list
  elements: dict
  returned: on failure
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bpf.provisioner.plugins.module_utils import command
from ansible_collections.bpf.provisioner.plugins.module_utils.carried import Carried

_ALLOW = ("approve_deletes", "allow_recreate", "take_over", "prune")
_ALLOW_ABSENT = ("take_over",)
"""The overrides of destroy: it has no limits of deletes, and prevent_destroy has no override."""


_OF_THE_CONTROLLER = {
    "src": {"type": "list", "elements": "path"},
    "overlays_src": {"type": "list", "elements": "path"},
    "data_src": {"type": "list", "elements": "path"},
    "content": {"type": "raw"},
    "dest": {"type": "path"},
    "_carried": {"type": "dict"},
}
"""The action plugin gives `_carried` in place of the others: `archive`, `dest` and `directories`."""


def overrides(params, absent):
    """The options of apply and destroy that plan takes too."""
    allowed = [name for name in (_ALLOW_ABSENT if absent else _ALLOW) if params[name]]
    return [f"--{name.replace('_', '-')}" for name in allowed]


def difference(document):
    """What Ansible shows with --diff: a line for each address, before and after."""
    sides = {"before": [], "after": []}
    for change in document["changes"]:
        # A container that is updated in place has no values of its own: its entries have lines.
        alone = change["action"] != "update" or change["kind"] == "entry"
        for side, lines in sides.items():
            if alone and change[side] is not None:
                lines.append(f"{change['address']}: {json.dumps(change[side], sort_keys=True)}\n")
        if change.get("omitted"):
            sides["after"].append(f"{change['address']}: {change['omitted']} more\n")
    root = document["pin_root"]
    return {
        "before_header": f"{root} (live)",
        "after_header": f"{root} (spec)",
        "before": "".join(sides["before"]),
        "after": "".join(sides["after"]),
    }


def main():
    """Plan in check mode, else apply or destroy."""
    argument_spec = dict(command.SPEC)
    argument_spec["files"] = {"type": "list", "elements": "path", "default": []}
    argument_spec.update(_OF_THE_CONTROLLER)
    argument_spec.update({name: {"type": "bool", "default": False} for name in _ALLOW})
    argument_spec["state"] = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    argument_spec["lock_timeout"] = {"type": "float", "default": 30}
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    if not module.params["files"]:
        module.fail_json(msg="one of files, src and content is required")
    absent = module.params["state"] == "absent"
    carried = module.params["_carried"] and Carried(module, **module.params["_carried"])
    report = {"changed": False}
    folder = None
    if carried:
        changed, removed = ([], []) if absent else carried.differences()
        report["files_changed"] = changed + removed
        folder = carried.staged
        if not module.check_mode and not absent:
            # A spec that is invalid or refused is not installed: at the next boot it would be applied.
            _finish(module, report, *_plan(module, absent, folder), only_failure=True)
            carried.install()
            folder = carried.dest
    if module.check_mode:
        _finish(module, report, *_plan(module, absent, folder))
    _finish(module, report, *_apply(module, absent, folder))


def _plan(module, absent, folder):
    options = overrides(module.params, absent) + (["--destroy"] if absent else [])
    status, document, errors = command.run(module, "plan", command.arguments(module.params, options), folder)
    return status in (0, 2), status, document, errors


def _apply(module, absent, folder):
    options = [*overrides(module.params, absent), "--yes", f"--lock-timeout={module.params['lock_timeout']}"]
    verb = "destroy" if absent else "apply"
    status, document, errors = command.run(module, verb, command.arguments(module.params, options), folder)
    return status == 0, status, document, errors


def _finish(module, report, done, status, document, errors, only_failure=False):
    """End the module with what a verb reported; with `only_failure`, return if it succeeded."""
    if done and only_failure:
        return
    report = dict(report)
    if document is not None:
        report.update({key: document[key] for key in _KEYS if key in document})
        report["changed"] = _has_changed(document, done)
        if module._diff:
            report["diff"] = difference(document)
    if done:
        report["changed"] |= bool(report.get("files_changed"))
        module.exit_json(**report)
    if only_failure:
        report["files_changed"] = []
    if not errors and document is not None:
        errors = [_refusal(blocked) for blocked in document["blocked"]]  # a plan has them only in its document
    module.fail_json(msg=command.in_words(errors), errors=errors, rc=status, **report)


_KEYS = ("digest", "summary", "changes", "hazards", "result")


def _has_changed(document, done):
    """Whether something changed, or would change. After a failure, whether something new is live."""
    result = document.get("result")
    if result is None:
        return done and document["changed"]
    return result["status"] == "applied" or bool(result["live"])


def _refusal(blocked):
    """The refusal of a rule in a plan, as apply reports it among its errors."""
    hint = f"{blocked['override']} allows it" if blocked["override"] else ""
    return {"id": blocked["rule"], "address": blocked["address"], "message": blocked["message"], "hint": hint}


if __name__ == "__main__":
    main()
