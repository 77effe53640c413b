"""A declarative provisioner for BPF map-in-map.

    import provisioner

    project = provisioner.load("edge.yaml")
    if project.plan().changed:
        project.apply()

docs/library.md has the details. A name is imported when it is first used, so `import provisioner` costs nothing.
"""

__version__ = "0.3.0"

# Importing `typing` takes longer than all of `--version`.
TYPE_CHECKING = False

if TYPE_CHECKING:
    __all__: list[str]
    from provisioner.adopt.export import Exported as Exported
    from provisioner.adopt.exporting import export_live as export_live
    from provisioner.apply.outcome import Options as Options
    from provisioner.apply.outcome import Result as Result
    from provisioner.apply.outcome import Status as Status
    from provisioner.apply.outcome import open_fds as open_fds
    from provisioner.apply.progress import Progress as Progress
    from provisioner.desired.loading import SpecError as SpecError
    from provisioner.doctor.checks import examine as examine
    from provisioner.doctor.finding import Finding as Finding
    from provisioner.document import Document as Document
    from provisioner.kernel.reasons import KernelError as KernelError
    from provisioner.model.errors import ApplyError as ApplyError
    from provisioner.model.errors import HostError as HostError
    from provisioner.model.errors import InputError as InputError
    from provisioner.model.errors import InterruptError as InterruptError
    from provisioner.model.errors import LockedError as LockedError
    from provisioner.model.errors import Problem as Problem
    from provisioner.model.errors import ProvisionerError as ProvisionerError
    from provisioner.model.errors import RefusedError as RefusedError
    from provisioner.model.given import Given as Given
    from provisioner.model.kernel_versions import Advice as Advice
    from provisioner.model.location import Location as Location
    from provisioner.observed.snapshot import Snapshot as Snapshot
    from provisioner.observed.snapshot_file import read_snapshot as read_snapshot
    from provisioner.observed.snapshot_file import write_snapshot as write_snapshot
    from provisioner.planning.hazards import Hazard as Hazard
    from provisioner.planning.hazards import Overrides as Overrides
    from provisioner.planning.hazards import Refusal as Refusal
    from provisioner.planning.hazards import Severity as Severity
    from provisioner.planning.plan import Plan as Plan
    from provisioner.project.opening import draft as draft
    from provisioner.project.opening import is_pinned as is_pinned
    from provisioner.project.opening import load as load
    from provisioner.project.opening import load_pinned as load_pinned
    from provisioner.project.opening import projects as projects
    from provisioner.project.project import Project as Project
    from provisioner.report.graph import Graph as Graph
    from provisioner.report.model import Children as Children
    from provisioner.report.model import Fact as Fact
    from provisioner.report.model import Kind as Kind
    from provisioner.report.model import ListedProject as ListedProject
    from provisioner.report.model import Node as Node
    from provisioner.report.model import ReportLive as ReportLive
    from provisioner.report.model import ReportPlan as ReportPlan
    from provisioner.report.model import Totals as Totals
    from provisioner.report.model import Verb as Verb
    from provisioner.session.session import Session as Session
    from provisioner.views.documents import describe as describe
    from provisioner.views.documents import to_json as to_json
    from provisioner.views.documents import to_text as to_text
    from provisioner.views.looks import Look as Look

if not TYPE_CHECKING:

    def _public():
        """Each public name with its module, as the imports above list them: parsed, because they must not run."""
        import re

        listed = re.findall(r"^    from (\S+) import \w+ as (\w+)$", __loader__.get_source(__name__), re.MULTILINE)
        return {name: module for module, name in listed}

    def __getattr__(name):
        if name == "__all__":
            return ["__version__", *_public()]
        module = None if name.startswith("_") else _public().get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__():
        return sorted({*globals(), *_public()})
