"""Variables of loaded objects: written in place, one word each, and taken back if the apply fails."""

from __future__ import annotations

from functools import partial

from provisioner.apply import identity
from provisioner.apply.transaction import Transaction
from provisioner.kernel import global_data
from provisioner.kernel.fd import MapFd
from provisioner.planning.changes import Word
from provisioner.planning.steps import WriteVariables


def write(tx: Transaction, step: WriteVariables) -> None:
    """Write the words that differ."""
    for change in tx.plan.objects[step.object].variables:
        if change.word is not None:
            before = _write(tx, change.pin, change.word)
            tx.note(f"variable {change.name}", partial(_write_back, tx, change.pin, before))


def _write(tx: Transaction, pin: str, word: Word) -> Word:
    """Write a word; gives the one before."""
    number = tx.plan.observed.object_maps[pin].id
    with identity.open_same(tx.path(pin), MapFd, number, pin) as fd:
        return Word(word.offset, global_data.write_word(fd, word.offset, word.data))


def _write_back(tx: Transaction, pin: str, before: Word) -> None:
    _write(tx, pin, before)
