"""Attachments by tc filters: the record first, then the filter, so that a filter of this project is always known."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from msgspec.structs import replace

from provisioner.apply import identity
from provisioner.apply.transaction import Transaction
from provisioner.kernel import bpffs, filters, links
from provisioner.kernel.fd import MapFd, ProgramFd
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.filter_record import FilterRecord
from provisioner.model.observed import ObservedLink
from provisioner.model.pins import is_link
from provisioner.observed import filter_pins
from provisioner.planning.changes import LinkChange


def create(tx: Transaction, change: LinkChange, program: ProgramFd, record: FilterRecord, name: str) -> None:
    """Make a filter, and the clsact qdisc if the interface has none."""
    with tx.noting(f"attachment {name}", partial(_drop, tx, change.pin)):
        _create(tx, change.pin, program, record, name)


def _create(tx: Transaction, pin: str, program: ProgramFd, record: FilterRecord, name: str) -> None:
    path = tx.path(pin)
    filter_pins.write(path, record, tx.access)
    if filters.create_qdisc(record.ifindex, name):
        # A kill before this line leaves an empty qdisc; the other order could remove a qdisc of another owner.
        filter_pins.write(path, replace(record, has_qdisc=True), tx.access)
    filters.attach(record.ifindex, record.place, program, over=False, name=name)


def update(tx: Transaction, change: LinkChange, program: ProgramFd, name: str) -> None:
    """Let a filter run another program, at once."""
    live = change.observed
    assert live is not None
    path, keep = tx.path(change.pin), tx.old_path(change.pin)
    record = _same(path, tx.rewritten.get(change.pin, live.id), change.pin)
    _require(record, live.program_id, change.pin)
    with links.open_program_id(live.program_id) as old:
        bpffs.pin(old, keep)
    number = links.program_info(program).id
    with tx.noting(f"program of {change.pin}", partial(_run_again, tx, change.pin, live.program_id, keep)):
        filter_pins.write(path, replace(record, programs=(live.program_id, number)), tx.access)
        filters.attach(record.ifindex, record.place, program, over=True, name=name)
    filter_pins.write(path, replace(record, programs=(number,)), tx.access)


def _run_again(tx: Transaction, pin: str, before: int, old: Path) -> None:
    """Let the filter run the old program again, unless it is another owner's by now."""
    path = tx.path(pin)
    record = _read(path)
    running = filters.program_at(record.ifindex, record.place)
    if running != before:
        _require(record, running if running in record.programs else 0, pin)
        filter_pins.write(path, replace(record, programs=(*record.programs, before)), tx.access)
        with links.open_program_pin(old) as program:
            filters.attach(record.ifindex, record.place, program, over=True, name=pin)
    filter_pins.write(path, replace(record, programs=(before,)), tx.access)


def detach(tx: Transaction, pin: str, live: ObservedLink) -> None:
    """Delete a filter and its record; the qdisc too, if the project made it and it is empty then."""
    record = _same(tx.path(pin), tx.rewritten.get(pin, live.id), pin)
    if live.program_id and not live.is_detached:
        keep = tx.old_path(f"program{pin}")
        with links.open_program_id(live.program_id) as program:
            bpffs.pin(program, keep)
        again = partial(_attach_again, tx, pin, replace(record, has_qdisc=False), keep)
        tx.note(f"removal of attachment {pin}", again, is_removal=True)
    _drop(tx, pin)


def _attach_again(tx: Transaction, pin: str, record: FilterRecord, old: Path) -> None:
    """Make a filter as it was before; one that was not deleted yet is left as it is."""
    with links.open_program_pin(old) as program:
        number = links.program_info(program).id
        if filters.program_at(record.ifindex, record.place) != number or not tx.path(pin).exists():
            _drop(tx, pin)
            _create(tx, pin, program, replace(record, programs=(number,)), pin)


def _drop(tx: Transaction, pin: str) -> None:
    """Delete the filter if it is still the project's, then the record of it."""
    path = tx.path(pin)
    if not path.exists():
        return
    record = _read(path)
    if filters.program_at(record.ifindex, record.place) in record.programs:
        filters.detach(record.ifindex, record.place)
    if record.has_qdisc:
        _leave_qdisc(tx, pin, record.ifindex)
    bpffs.unpin(path)


def _leave_qdisc(tx: Transaction, pin: str, ifindex: int) -> None:
    """Remove the qdisc if it is empty. Another filter of the project on the interface takes over to do so later."""
    for other in bpffs.list_pins(tx.root):
        if other != pin and is_link(other):
            record = _record_at(tx.path(other))
            if record is not None and record.ifindex == ifindex:
                filter_pins.write(tx.path(other), replace(record, has_qdisc=True), tx.access)
                _, tx.rewritten[other] = identity.at(tx.path(other)) or (MapFd, 0)
                return
    if filters.is_empty(ifindex):
        filters.remove_qdisc(ifindex)


def _record_at(path: Path) -> FilterRecord | None:
    """The record that is pinned there; None if another thing is."""
    with bpffs.open_any(path) as fd:
        return filter_pins.read(fd, path) if isinstance(fd, MapFd) else None


def _read(path: Path) -> FilterRecord:
    with bpffs.open_pin(path, MapFd) as fd:
        return filter_pins.read(fd, path)


def _same(path: Path, number: int, pin: str) -> FilterRecord:
    with identity.open_same(path, MapFd, number, pin) as fd:
        return filter_pins.read(fd, path)


def _require(record: FilterRecord, expected: int, pin: str) -> None:
    """Raise RefusedError where the filter does not run the program that it ran when the plan was made."""
    running = filters.program_at(record.ifindex, record.place)
    if not expected or running != expected:
        what = f"another process changed the filter at {record.place.describe()}; it is kept"
        hint = "plan again, and check with `tc filter show` which process changes it"
        raise RefusedError(Problem(what, hint=hint, address=pin, id="changed-since-plan"))
