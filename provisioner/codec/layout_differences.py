"""What differs between two layouts of one key or value, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from provisioner.codec.reshape_match import WHOLE
from provisioner.model.type_layout import LayoutKind, Placed, TypeLayout, placed


def differences(old: TypeLayout, new: TypeLayout, rename: Mapping[str, str] = {}) -> list[str]:
    """What becomes of members, in words: `a from byte 0 to 4`, `b: u32 -> s32`, `c is now d`; none if all stay."""
    before, after = _leaves(old), _leaves(new)
    before = {_renamed(path, rename, after): each for path, each in before.items()}
    words = []
    for path in [path for path in after if path in before]:
        was, now, name = before[path], after[path], path or "it"
        if was.offset != now.offset:
            words.append(f"{name} from byte {was.offset} to {now.offset}")
        elif _meaning(was.layout) != _meaning(now.layout):
            words.append(f"{name}: {was.layout.word} -> {now.layout.word}")
    gone = {path: each for path, each in before.items() if path not in after}
    for path in [path for path in after if path not in before]:
        same = [name for name, each in gone.items() if _place(each) == _place(after[path])]
        if same and path:
            words.append(f"{same[0] or 'it'} is now {path}")
            del gone[same[0]]
        else:
            words.append(f"new {path}" if path else f"{old.word} -> {new.word}")
    return words + [f"without {path}" for path in gone if path]


def _renamed(path: str, rename: Mapping[str, str], after: Collection[str]) -> str:
    """The new name of a member, if the new layout has it: the names of keys and values are in one mapping."""
    new = rename.get(path or WHOLE, path)
    new = "" if new == WHOLE and WHOLE not in after else new
    return new if new in after else path


def _leaves(layout: TypeLayout) -> dict[str, Placed]:
    """The members that have no members of their own."""
    return {path: each for path, each in placed(layout) if each.layout.kind is not LayoutKind.STRUCT}


def _place(each: Placed) -> tuple[int, int]:
    return each.offset, each.layout.size


def _meaning(layout: TypeLayout) -> tuple[object, ...]:
    """What the bytes of a member mean; names of types do not count."""
    own = layout.kind, layout.size, layout.big, layout.width, layout.shift, layout.count
    word = layout.word if layout.kind in (LayoutKind.BYTES, LayoutKind.KERNEL) else ""
    parts = tuple((part.name, part.offset, _meaning(part.layout)) for part in layout.members)
    return (*own, word, parts)
