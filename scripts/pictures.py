"""Draws the pictures of the documentation: `make pictures`, or `pictures.py DIRECTORY`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from drawing import Kind, Picture

FOLDER: Final = Path(__file__).parent.parent / "docs" / "assets" / "pictures"


def map_in_map() -> Picture:
    picture = Picture("An outer map has slots; each slot contains an inner map; an inner map has entries", 334)
    picture.text(14, 26, "outer map", "strong")
    picture.text(14, 44, "tenants", "mono dim")
    picture.text(150, 26, "inner maps", "strong")
    picture.text(150, 44, "lpm_trie, one per tenant", "dim")
    picture.box(12, 54, 92, 210, "outer")
    for number, (key, entries) in enumerate(
        (
            ("41", (("0.0.0.0/0", "allow"),)),
            ("42", (("10.0.0.0/8", "deny"), ("0.0.0.0/0", "allow"))),
            ("43", (("192.0.2.0/24", "allow"),)),
        )
    ):
        y = 62 + number * 68
        picture.label(20, y, 76, 58, "plain", f"slot {key}", "mono")
        picture.arrow((96, y + 29), (146, y + 29))
        picture.box(148, y, 200, 58, "inner")
        for row, (prefix, verdict) in enumerate(entries):
            top = y + 5 + row * 26 if len(entries) > 1 else y + 18
            picture.box(154, top, 188, 22, "entry")
            picture.text(162, top + 15.5, prefix, "mono")
            picture.text(334, top + 15.5, verdict, "mono", "end")
    picture.text(14, 290, "An entry has an address:")
    picture.text(14, 314, "tenants[42][10.0.0.0/8]", "mono strong")
    picture.text(346, 314, "map[slot][key]", "mono dim", "end")
    return picture


def fd_and_id() -> Picture:
    picture = Picture("A slot is written as an fd and read back as an id", 332)
    left, right = 40, 320
    picture.label(14, 14, 110, 30, "process", "provisioner", "strong")
    picture.label(236, 14, 110, 30, "outer", "kernel", "strong")
    picture.arrow((left, 44), (left, 318), dashed=True, head=False)
    picture.arrow((right, 44), (right, 318), dashed=True, head=False)
    calls = (
        ("create an inner map", True, ""),
        ("fd 7", False, "strong"),
        ("write entries to fd 7", True, ""),
        ("write slot 42 = fd 7", True, "strong"),
        ("close fd 7: the slot keeps the map", True, ""),
        ("read slot 42", True, ""),
        ("id 1234", False, "strong"),
        ("open id 1234 (CAP_SYS_ADMIN)", True, ""),
        ("fd 9", False, "strong"),
    )
    for number, (words, to_kernel, style) in enumerate(calls):
        y = 76 + number * 28
        start, end = (left, right) if to_kernel else (right, left)
        picture.arrow((start, y), (end, y), dashed=not to_kernel)
        picture.text(180, y - 6, words, style, "middle")
    return picture


def waves() -> Picture:
    picture = Picture("apply stages the next wave while the current one waits for its grace period", 424)
    picture.text(14, 26, "apply: three waves of inner maps", "strong")
    picture.arrow((14, 218), (346, 218))
    picture.text(346, 236, "time", "dim", "end")
    lanes: tuple[tuple[int, str, Kind, tuple[int, ...], int], ...] = (
        (38, "stage: create and fill inner maps", "inner", (14, 102, 190), 84),
        (96, "stash: keep the maps to be replaced", "process", (100, 190, 280), 26),
        (154, "publish: one batch, one grace period", "outer", (128, 218, 308), 38),
    )
    for y, words, kind, starts, width in lanes:
        picture.text(14, y + 12, words, "dim")
        for number, x in enumerate(starts, start=1):
            picture.label(x, y + 18, width, 26, kind, str(number), "strong")
    picture.text(14, 236, "fds close after each wave", "dim")
    picture.text(14, 268, "If a step fails", "strong")
    picture.box(14, 280, 158, 96, "process")
    picture.text(24, 298, "rollback stash", "strong")
    picture.text(24, 316, "an outer map that", "dim")
    picture.text(24, 332, "no program reads", "dim")
    picture.label(22, 342, 68, 26, "inner", "id 1201", "mono")
    picture.label(96, 342, 68, 26, "inner", "id 1202", "mono")
    picture.box(256, 280, 90, 96, "outer")
    picture.text(264, 298, "tenants", "strong")
    picture.label(264, 308, 74, 26, "plain", "slot 41", "mono")
    picture.label(264, 342, 74, 26, "plain", "slot 42", "mono")
    picture.arrow((172, 328), (254, 328))
    picture.text(213, 320, "one batch", "", "middle")
    picture.text(14, 396, "The same maps return, with the same ids and")
    picture.text(14, 413, "with what the data plane wrote to them.")
    return picture


def _contents(picture: Picture, x: float, y: float, *versions: str, in_slot: bool = True) -> None:
    """An inner map with the entries A and B, each in the version that is named, or without the entry."""
    picture.box(x, y, 96, 62, "inner", dashed=not in_slot)
    for row, (name, version) in enumerate(zip("AB", versions, strict=True)):
        if version:
            kind: Kind = "new" if version == "new" else "entry"
            picture.label(x + 6, y + 5 + row * 28, 84, 24, kind, f"{name}  {version}", "mono")


def update() -> Picture:
    picture = Picture(
        "In place, a reader can see a mixture of old and new entries; with replace, it sees all old or all new", 508
    )
    columns = (14, 132, 250)
    picture.text(14, 26, "update: in_place", "mono strong")
    picture.text(14, 45, "Each entry is written on its own.", "dim")
    states = (("old", "old", "all old"), ("new", "old", "mixture"), ("new", "new", "all new"))
    for x, (a, b, seen) in zip(columns, states, strict=True):
        picture.label(x, 56, 96, 26, "outer", "slot", "mono")
        picture.arrow((x + 48, 82), (x + 48, 98))
        _contents(picture, x, 100, a, b)
        picture.text(x + 48, 180, seen, "bad strong" if seen == "mixture" else "good", "middle")
    picture.arrow((14, 194), (346, 194))
    picture.text(346, 211, "time", "dim", "end")
    picture.text(14, 236, "update: replace", "mono strong")
    picture.text(14, 255, "A new map is filled, then one write swaps it in.", "dim")
    for x, version in zip(columns, ("old", "old", "new"), strict=True):
        picture.label(x, 266, 96, 26, "outer", "slot", "mono")
        picture.arrow((x + 48, 292), (x + 48, 308))
        _contents(picture, x, 310, version, version)
        picture.text(x + 48, 390, f"all {version}", "good", "middle")
    _contents(picture, columns[0], 402, "new", "", in_slot=False)
    _contents(picture, columns[1], 402, "new", "new", in_slot=False)
    picture.arrow((228, 433), (298, 433), (298, 398))
    picture.text(250, 452, "swap", "dim")
    picture.arrow((14, 478), (346, 478))
    picture.text(14, 496, "dashed: not visible to programs", "dim")
    picture.text(346, 496, "time", "dim", "end")
    return picture


def merge() -> Picture:
    picture = Picture("A program carries what changed in the old map after the copy over into the new map", 386)
    picture.text(14, 26, "on_replace: copy, on_conflict: sum", "mono strong")
    columns = ((14, "copy", "7", "7"), (132, "swap", "9", "7"), (250, "merge", "9", "10"))
    for x, step, old, new in columns:
        is_live = step == "copy"
        picture.text(x + 48, 52, step, "strong", "middle")
        picture.text(x, 80, "old map", "" if is_live else "dim")
        picture.label(x, 88, 96, 30, "inner", f"A  {old}", "mono")
        picture.text(x, 226, "new map", "dim" if is_live else "")
        picture.label(x, 234, 96, 30, "new", f"A  {new}", "mono")
    picture.arrow((90, 118), (90, 232))
    picture.text(82, 180, "A = 7", "mono", "end")
    picture.text(102, 140, "programs count:", "dim")
    picture.text(216, 140, "+2", "mono good")
    picture.text(132, 284, "programs count:", "dim")
    picture.text(250, 284, "+1", "mono good")
    picture.arrow((326, 118), (326, 232))
    picture.text(318, 180, "9 - 7 = 2", "mono", "end")
    picture.text(318, 200, "add 2", "mono good", "end")
    picture.arrow((14, 300), (346, 300))
    picture.text(346, 318, "time", "dim", "end")
    picture.text(14, 340, "After the grace period of the swap, nothing uses")
    picture.text(14, 358, "the old map. The program adds by atomic")
    picture.text(14, 376, "instructions, while others count in the new map.")
    return picture


def digests() -> Picture:
    picture = Picture(
        "A program in the kernel computes a digest of each inner map; only the map that differs is read", 372
    )
    picture.text(14, 26, "desired", "strong")
    picture.text(346, 26, "kernel", "strong", "end")
    rows = (("41", "5e91...", "5e91..."), ("42", "07c3...", "d428..."), ("43", "b860...", "b860..."))
    for number, (slot, wanted, live) in enumerate(rows):
        y = 40 + number * 52
        same = wanted == live
        picture.label(14, y, 96, 34, "new", f"slot {slot}", "mono")
        picture.text(122, y + 22, wanted, "mono")
        picture.text(196, y + 22, "=" if same else "≠", "strong good" if same else "strong bad", "middle")
        picture.text(216, y + 22, live, "mono")
        picture.label(286, y, 60, 34, "inner", "map", "mono")
    picture.text(14, 210, "NumPy computes", "dim")
    picture.text(14, 227, "these digests", "dim")
    picture.text(346, 210, "one call of a program", "dim", "end")
    picture.text(346, 227, "computes these", "dim", "end")
    picture.arrow((14, 242), (346, 242), dashed=True, head=False)
    picture.text(14, 268, "Only slot 42 is read:")
    picture.label(14, 280, 96, 34, "new", "A  1", "mono")
    picture.text(196, 302, "≠", "strong bad", "middle")
    picture.label(250, 280, 96, 34, "inner", "A  2", "mono")
    picture.text(14, 340, "The keys of a digest are random for each run.")
    picture.text(14, 358, "A difference is always compared as bytes.")
    return picture


def staging() -> Picture:
    picture = Picture(
        "One call of a program creates all inner maps of a wave, and another writes their entries; then one batch "
        "publishes them",
        488,
    )
    picture.text(14, 26, "provisioner", "strong")
    picture.text(346, 26, "kernel", "strong", "end")
    picture.arrow((180, 14), (180, 444), dashed=True, head=False)
    rows: tuple[tuple[int, str, tuple[str, ...], Kind, str], ...] = (
        (40, "1  create", ("type, sizes", "fd 7, fd 8, fd 9"), "new", "new maps"),
        (146, "2  put", ("slots 0, 1, 2:", "fd 7, fd 8, fd 9"), "process", "scratch outer map"),
        (252, "3  fill", ("0: A = 1, B = 2", "1: A = 3"), "entry", "their entries"),
        (358, "4  publish", ("slots 41, 42, 43:", "fd 7, fd 8, fd 9"), "outer", "outer map"),
    )
    for y, words, memory, kind, made in rows:
        picture.text(14, y + 16, words, "strong")
        picture.box(14, y + 26, 150, 50, "process")
        for line, text in enumerate(memory):
            picture.text(22, y + 46 + 20 * line, text, "mono")
        by_program = words[0] in "13"
        picture.text(196, y + 16, "one call of a program" if by_program else "by one batch", "dim")
        picture.arrow((164, y + 51), (210, y + 51))
        picture.label(214, y + 26, 132, 50, kind, made)
    picture.text(14, 466, "Steps 2 and 4 wait for a grace period each.", "dim")
    return picture


def overlays() -> Picture:
    picture = Picture("Overlays: a host's file overrides its site's file, which overrides the base", 414)
    layers = (
        ("base.yaml", "all hosts", ("settings[0]: 1000", "10.0.0.0/8: allow")),
        ("sites/ams.yaml", "one site", ("172.16.0.0/12: allow",)),
        ("hosts/edge-1.yaml", "one host", ("settings[0]: 5000",)),
    )
    y = 14
    for name, scope, values in layers:
        height = 36 + 20 * len(values)
        picture.box(14, y, 332, height, "process")
        picture.text(26, y + 21, name, "mono strong")
        picture.text(336, y + 21, scope, "dim", "end")
        for row, value in enumerate(values):
            picture.text(26, y + 44 + row * 20, value, "mono")
        picture.arrow((180, y + height), (180, y + height + 22))
        y += height + 24
    picture.text(192, y - 7, "later files override", "dim")
    picture.box(14, y, 332, 126, "outer")
    picture.text(26, y + 21, "the plan for edge-1", "strong")
    for row, (value, source) in enumerate(
        (
            ("settings[0]: 5000", "hosts/edge-1.yaml"),
            ("10.0.0.0/8: allow", "base.yaml"),
            ("172.16.0.0/12: allow", "sites/ams.yaml"),
        )
    ):
        top = y + 30 + row * 30
        picture.box(22, top, 316, 26, "entry")
        picture.text(30, top + 17, value, "mono")
        picture.text(332, top + 17, source, "dim", "end")
    return picture


def fleet() -> Picture:
    picture = Picture("A change goes from Git through plans for every host to one host first, then to all", 512)
    picture.box(14, 14, 332, 62, "process")
    picture.text(26, 35, "Git", "strong")
    picture.text(26, 60, "one spec, overlays per site and host", "dim")
    picture.arrow((110, 76), (110, 108))
    picture.text(122, 97, "pull request", "dim")
    picture.box(14, 110, 332, 84, "outer")
    picture.text(26, 131, "CI: plan for every host", "strong")
    picture.text(26, 152, "compares with snapshots of the hosts,", "dim")
    picture.text(26, 169, "needs no root and no BPF,", "dim")
    picture.text(26, 186, "writes a comment for the review", "dim")
    picture.arrow((110, 194), (110, 228))
    picture.text(122, 216, "review and merge", "dim")
    picture.box(14, 230, 332, 174, "plain")
    picture.text(26, 251, "Ansible, Kubernetes, or watch", "strong")
    picture.text(26, 276, "first one host", "dim")
    picture.label(26, 284, 96, 34, "new", "edge-1", "mono")
    picture.arrow((122, 301), (166, 301))
    picture.text(174, 297, "verified,", "dim")
    picture.text(174, 314, "no drift", "dim")
    picture.arrow((74, 318), (74, 348))
    picture.text(86, 338, "then the others", "dim")
    for number, name in enumerate(("edge-2", "edge-3", "...")):
        picture.label(26 + number * 106, 354, 96, 34, "inner", name, "mono")
    picture.arrow((110, 404), (110, 436))
    picture.text(122, 425, "metrics, logs, status files", "dim")
    picture.box(14, 438, 332, 60, "outer")
    picture.text(26, 459, "Each host reports drift", "strong")
    picture.text(26, 483, "provisioner_drift 0", "mono")
    return picture


PICTURES: Final[dict[str, Callable[[], Picture]]] = {
    "map-in-map": map_in_map,
    "fd-and-id": fd_and_id,
    "waves": waves,
    "update": update,
    "merge": merge,
    "digests": digests,
    "staging": staging,
    "overlays": overlays,
    "fleet": fleet,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw().svg())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
