"""Bad days, each made to happen for real: what the message says, how the command ends, and that nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, maps, objects
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapType
from tests.cli.conftest import Project
from tests.cli.support import COMMAND, SPEC, Done, environment
from tests.conftest import remove_tree
from tests.kernel.shapes import ARRAY
from tests.promises.cgroup import MemoryCgroup
from tests.promises.scenarios import look


@pytest.fixture
def project(kernel: Path, tmp_path: Path) -> Iterator[Project]:
    spec, root = tmp_path / "edge.yaml", kernel / "edge"
    spec.write_text(SPEC)
    yield Project(spec, root)
    if root.exists():
        remove_tree(root)


def in_a_mount_namespace(script: str, *words: str | Path) -> Done:
    """Run a shell script with mounts of its own; `"$@"` is the command line of the provisioner."""
    command = ["unshare", "-m", "sh", "-c", script, "sh", *COMMAND, *map(str, words)]
    done = subprocess.run(command, input="", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


# --- the bpffs ---------------------------------------------------------------------------------------------------


def test_the_bpffs_is_unmounted_between_plan_and_apply(project: Project, tmp_path: Path) -> None:
    saved = tmp_path / "edge.plan"
    assert project.run("plan", "--out", saved).status == 2
    words = ("apply", project.spec, "--pin-root", project.root, "--plan", saved)
    done = in_a_mount_namespace(f'umount -l {project.root.parent} && exec "$@"', *words)
    assert done.status == 5
    assert str(project.root) in done.err
    assert "not on a bpffs" in done.err
    assert "hint: mount one" in done.err
    assert not json.loads(saved.read_text())["used"], "the plan is as good as before"
    assert project.run("apply", "--plan", saved).status == 0


def test_another_bpffs_is_mounted_over_it(project: Project) -> None:
    """All pins are out of sight: all of it is planned again, as on a host that was booted."""
    project.run("apply", "--yes")
    words = ("plan", project.spec, "--pin-root", project.root, "--format", "json")
    done = in_a_mount_namespace(f'mount -t bpf none {project.root.parent} && exec "$@"', *words)
    assert (done.status, done.document["summary"]["outer_maps"]["create"]) == (2, 1)
    assert project.run("plan").status == 0, "and what lives is untouched"


# --- pins that were replaced -------------------------------------------------------------------------------------


def pin_outer(path: Path, shape: MapShape, inner: MapShape) -> None:
    with maps.create(inner) as template, maps.create(shape, "other", inner=template) as outer:
        bpffs.pin_replace(outer, path)


RULES = MapShape(MapType.HASH, 4, 4, 64)


def test_a_pin_replaced_by_another_map_of_the_same_shape(project: Project, tmp_path: Path) -> None:
    """Between runs it is filled like any other; to a saved plan it is not the map that was seen."""
    project.run("apply", "--yes")
    project.edit("7: 70", "7: 71")
    saved = tmp_path / "edge.plan"
    assert project.run("plan", "--out", saved).status == 2
    pin_outer(project.root / "tenants", MapShape(MapType.HASH_OF_MAPS, 4, 4, 64), RULES)
    stale = project.run("apply", "--plan", saved)
    assert stale.status == 4
    assert "tenants: error[stale-plan]" in stale.err
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0


def test_a_pin_replaced_by_a_map_of_another_shape(project: Project) -> None:
    project.run("apply", "--yes")
    pin_outer(project.root / "tenants", MapShape(MapType.ARRAY_OF_MAPS, 4, 4, 64), RULES)
    with maps.open_pin(project.root / "tenants") as fd:
        number = maps.info(fd).id
    done = project.run("apply", "--yes")
    assert done.status == 4
    assert "tenants" in done.err
    assert "type array_of_maps -> hash_of_maps" in done.err
    assert "--allow-recreate" in done.err
    with maps.open_pin(project.root / "tenants") as fd:
        assert maps.info(fd).id == number, "nothing was changed"
    assert project.run("apply", "--yes", "--allow-recreate").status == 0
    assert project.run("plan").status == 0


def test_a_pin_replaced_by_a_program(project: Project, bpf_object: Callable[[str], Path]) -> None:
    project.run("apply", "--yes")
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as loaded:
        bpffs.pin_replace(next(iter(loaded.programs.values())), project.root / "tenants")
    for verb in ("plan", "apply"):
        done = project.run(verb, *(("--yes",) if verb == "apply" else ()))
        assert done.status == 5
        assert f"{project.root / 'tenants'}: error[pin-kind]" in done.err
        assert "hint: unpin it" in done.err
    bpffs.unpin(project.root / "tenants")
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0


# --- no room -----------------------------------------------------------------------------------------------------


def test_an_outer_map_that_others_have_filled(project: Project) -> None:
    """There is room for all that is declared, but not beside what is kept for others."""
    project.edit("max_entries: 64\n    inner: rules", "max_entries: 4\n    inner: rules\n    extra_inner_maps: keep")
    project.run("apply", "--yes")
    with maps.open_pin(project.root / "tenants") as outer, maps.create(RULES) as foreign:
        for slot in (50, 51):
            maps.insert_inner(outer, slot.to_bytes(4, "little"), foreign)
    project.edit("2: {entries: {7: 70}}", "2: {entries: {7: 71}}\n      3: {}")
    done = project.run("apply", "--yes", "--format", "json")
    assert done.status == 4
    assert [(error["id"], error["address"]) for error in done.errors] == [("no-room", "tenants[3]")]
    project.edit("\n      3: {}", "")
    project.edit("7: 71", "7: 70")
    assert project.run("plan").status == 0, "all is as it was"


def test_the_disk_is_full_when_the_plan_is_saved(project: Project, tmp_path: Path) -> None:
    """A disk of its own, of one page: the old plan stays, and no half of a new one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    saved = disk / "edge.plan"
    script = (
        f'mount -t tmpfs -o size=8k none {disk} && "$@" > /dev/null; test $? = 2 || exit 99; '
        f"cp {saved} {tmp_path}/old; "
        f'cat /dev/zero > {disk}/rest 2> /dev/null; "$@"; status=$?; '
        f"cmp {saved} {tmp_path}/old || exit 98; test $(ls -A {disk} | wc -l) = 2 || exit 97; exit $status"
    )
    done = in_a_mount_namespace(script, "plan", project.spec, "--pin-root", project.root, "--out", saved)
    assert done.status == 1
    assert f"{saved}: error[write-failed]" in done.err and "No space left on device" in done.err
    assert "hint: save it elsewhere" in done.err


@pytest.mark.parametrize("folder", [".", "/", "there"])
def test_a_folder_takes_no_plan_and_no_snapshot(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for verb, option in (("plan", "--out"), ("export", "--snapshot")):
        done = project.run(verb, option, folder)
        assert done.status == 1
        assert f"{folder}: error" in done.err and "Is a directory" in done.err


def test_a_plan_is_written_to_a_device_and_not_over_it(project: Project, tmp_path: Path) -> None:
    """One that is always full: root could rename a file over it."""
    full = tmp_path / "full"
    os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    done = project.run("plan", "--out", full)
    assert done.status == 1
    assert f"{full}: error[write-failed]" in done.err and "No space left on device" in done.err
    snapshot = project.run("export", "--snapshot", full)
    assert (snapshot.status, "can't write the snapshot: No space left on device" in snapshot.err) == (1, True)
    assert full.is_char_device()
    assert [path.name for path in tmp_path.iterdir() if "full" in path.name] == ["full"]


# --- no permission, no reader ------------------------------------------------------------------------------------


def test_a_pin_directory_without_permission(project: Project) -> None:
    """Root passes every mode: so a process without that capability, as another user is."""
    project.run("apply", "--yes")
    project.root.chmod(0o000)
    bounds = "-all,+bpf,+net_admin,+sys_admin"
    command = ["setpriv", f"--bounding-set={bounds}", "--reuid=65534", "--clear-groups"]
    command += [f"--inh-caps={bounds}", f"--ambient-caps={bounds}"]
    words = ["-", "--pin-root", str(project.root)]  # that user may not enter the directory of the spec
    text = project.spec.read_text()
    try:
        for verb in (("plan",), ("apply", "--yes")):
            done = subprocess.run(
                [*command, *COMMAND, *verb, *words], input=text, capture_output=True, text=True, env=environment()
            )
            assert done.returncode == 5, done.stderr
            assert str(project.root) in done.stderr
            assert "access-denied" in done.stderr
            assert "hint: " in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        project.root.chmod(0o755)
    assert project.run("plan").status == 0


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", ["plan", "show", "apply"])
def test_a_reader_that_closes_the_pipe(project: Project, verb: str, form: str) -> None:
    """It ends as SIGPIPE would end it, without a word, and changes nothing; what an apply has done counts."""
    project.edit("{7: 70}", "{" + ", ".join(f"{key}: 1" for key in range(60)) + "}")
    slots = "".join(f"      {slot}: {{entries: {{1: 1, 2: 2}}}}\n" for slot in range(3, 60))
    project.spec.write_text(project.spec.read_text() + slots)
    if verb == "show":
        project.run("apply", "--yes")
    words = [verb, str(project.spec), "--pin-root", str(project.root), "--format", form]
    words += ["--full"] + (["--yes"] if verb == "apply" else [])
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as nobody:
        done = subprocess.run([*COMMAND, *words], stdin=subprocess.DEVNULL, stdout=nobody, stderr=subprocess.PIPE)
    is_done = (verb, form) == ("apply", "json")  # its one document is written after the apply
    assert (done.returncode, done.stderr) == (0 if is_done else 141, b"")
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0


# --- memory ------------------------------------------------------------------------------------------------------


def ask_for_too_much(project: Project) -> None:
    """Forty maps of 32 MB, where there were two small ones."""
    big = "{type: array, key: u32, value: u64, max_entries: 4000000, flags: [inner_map]}"
    project.edit("{type: hash, key: u32, value: u32, max_entries: 64}", big)
    project.edit("1: {entries: {1: 10, 2: 20}}", "0..39: {entries: {1: 10}}")
    project.edit("      2: {entries: {7: 70}}\n", "")


def apply_under_a_limit(project: Project, *options: str) -> Done:
    """With memory that the interpreter fits into and the maps do not."""
    with MemoryCgroup("bad-day") as cgroup:
        cgroup.limit(300 << 20)
        script = f'echo $$ > {cgroup.path / "cgroup.procs"} && exec "$@"'
        words = ("apply", project.spec, "--pin-root", project.root, "--yes", *options)
        command = ["sh", "-c", script, "sh", *COMMAND, *map(str, words)]
        done = subprocess.run(command, input="", capture_output=True, text=True, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)


def test_there_is_less_memory_than_is_needed(project: Project) -> None:
    ask_for_too_much(project)
    done = apply_under_a_limit(project)
    assert done.status in (4, 5), done
    assert "memory" in done.err
    assert "cgroup" in done.err, "and it says where to look"
    assert not project.root.exists()


def test_the_memory_limit_of_the_cgroup_is_hit_while_staging(project: Project) -> None:
    """The estimate is overridden, so that the kernel's own refusal is met; or, where it rather kills, that."""
    ask_for_too_much(project)
    done = apply_under_a_limit(project, "--allow-overcommit")
    if done.status != -signal.SIGKILL:
        assert done.status == 5, done
        assert "rules: error[kernel-out-of-memory]: BPF_MAP_CREATE" in done.err
        assert "memory limit of the cgroup" in done.err
        assert not project.root.exists()
    project.spec.write_text(SPEC)
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0


def test_the_memory_limit_is_hit_where_something_lives_already(project: Project) -> None:
    """A slot is replaced: what was live stays so, ids and all. It is small, for its contents are compared."""
    ask_for_too_much(project)
    first = project.spec.read_text()
    project.edit("0..39: {entries: {1: 10}}", "0: {max_entries: 1000, entries: {1: 10}}")
    assert project.run("apply", "--yes").status == 0
    before = look(project.root)
    project.spec.write_text(first)
    done = apply_under_a_limit(project, "--allow-overcommit")
    assert done.status in (5, -signal.SIGKILL), done
    if done.status == 5:
        assert look(project.root) == before
    project.edit("0..39: {entries: {1: 10}}", "0: {max_entries: 1000, entries: {1: 10}}")
    assert project.run("apply", "--yes").status == 0
    assert project.run("plan").status == 0
    assert look(project.root) == before, "the next apply brings it back to that"
