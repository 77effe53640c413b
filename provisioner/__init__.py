"""A declarative provisioner for BPF map-in-map.

    import provisioner

    project = provisioner.load("edge.yaml")
    if project.plan().changed:
        project.apply()

docs/library.md tells the rest. What a name needs is imported when it is first used: `import provisioner` costs nothing.
"""

__version__ = "0.2.0"

# As `typing` says it, which takes longer to import than `--version` takes.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from provisioner.adopt.export import Exported as Exported
    from provisioner.adopt.exporting import export_live as export_live
    from provisioner.api import Project as Project
    from provisioner.api import SpecError as SpecError
    from provisioner.api import draft as draft
    from provisioner.api import load as load
    from provisioner.apply.run import Result as Result
    from provisioner.apply.run import Status as Status
    from provisioner.apply.run import open_fds as open_fds
    from provisioner.apply.transaction import Options as Options
    from provisioner.apply.waves import Progress as Progress
    from provisioner.doctor import examine as examine
    from provisioner.document import Document as Document
    from provisioner.errors import ApplyError as ApplyError
    from provisioner.errors import HostError as HostError
    from provisioner.errors import InputError as InputError
    from provisioner.errors import InterruptError as InterruptError
    from provisioner.errors import LockedError as LockedError
    from provisioner.errors import Problem as Problem
    from provisioner.errors import ProvisionerError as ProvisionerError
    from provisioner.errors import RefusedError as RefusedError
    from provisioner.location import Location as Location
    from provisioner.observed.snapshot import Snapshot as Snapshot
    from provisioner.observed.snapshot_file import read_snapshot as read_snapshot
    from provisioner.observed.snapshot_file import write_snapshot as write_snapshot
    from provisioner.planning.hazards import Hazard as Hazard
    from provisioner.planning.hazards import Overrides as Overrides
    from provisioner.planning.hazards import Refusal as Refusal
    from provisioner.planning.plan import Plan as Plan
    from provisioner.report.documents import describe as describe
    from provisioner.report.documents import to_json as to_json
    from provisioner.report.documents import to_text as to_text

_ROOMS = {
    "adopt.export": ("Exported",),
    "adopt.exporting": ("export_live",),
    "api": ("Project", "SpecError", "draft", "load"),
    "apply.run": ("Result", "Status", "open_fds"),
    "apply.transaction": ("Options",),
    "apply.waves": ("Progress",),
    "doctor": ("examine",),
    "document": ("Document",),
    "errors": (
        *("ApplyError", "HostError", "InputError", "InterruptError", "LockedError"),
        *("Problem", "ProvisionerError", "RefusedError"),
    ),
    "location": ("Location",),
    "observed.snapshot": ("Snapshot",),
    "observed.snapshot_file": ("read_snapshot", "write_snapshot"),
    "planning.hazards": ("Hazard", "Overrides", "Refusal"),
    "planning.plan": ("Plan",),
    "report.documents": ("describe", "to_json", "to_text"),
}
"""Where each public name is defined."""

_PUBLIC = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = ["__version__", *_PUBLIC]

if not TYPE_CHECKING:  # a type checker shall know the names above, and no others

    def __getattr__(name):
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *_PUBLIC})
