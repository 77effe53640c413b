"""The screen of `show --watch` between two keys: which lines are shown, and where the cursor is. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from provisioner.model.words import plural
from provisioner.report.style import Colour
from provisioner.views import rates
from provisioner.views.live_lines import Listing, at_first, fitted, heading
from provisioner.views.looks import Look
from provisioner.views.rates import FIRST, Address

HELP: Final = "arrows PgUp PgDn Home End  Enter fold  a all  s sort by rate  q quit"

_AROUND: Final = 3
"""Lines of the screen that are not of the list: the title, the names of the columns, the keys."""


class Drawn(msgspec.Struct, frozen=True):
    """The lines of a screen from the top; `cursor` is the number of the line that is marked, -1 for none."""

    lines: tuple[tuple[str, Colour | None], ...]
    cursor: int


class Screen:
    """Takes looks and keys, and draws. `interval` is what the title says, in seconds."""

    def __init__(self, look: Look, interval: float) -> None:
        self._interval = interval
        self._look, self._rates = look, FIRST
        self._unfolded = at_first(look)
        self._by_rate = False
        self._cursor = self._top = 0
        self._page = 1
        self._listing = self._listed()

    def update(self, look: Look, seconds: float) -> None:
        """The next look, and how many seconds are between both. The cursor stays in its line."""
        self._rates = rates.between(self._look, look, seconds)
        self._look = look
        self._listing = self._listed()

    def press(self, key: str) -> None:
        """A key by its name; one without a function does nothing."""
        match key:
            case "up" | "k":
                self._cursor -= 1
            case "down" | "j":
                self._cursor += 1
            case "page-up":
                self._cursor -= self._page
            case "page-down":
                self._cursor += self._page
            case "home" | "g":
                self._cursor = 0
            case "end" | "G":
                self._cursor = len(self._listing) - 1
            case "enter" | "space" | "left" | "right":
                self._fold(key)
            case "a":
                self._fold_all()
            case "s":
                self._by_rate = not self._by_rate
                self._listing = self._listed()
            case _:
                pass
        self._cursor = max(0, min(self._cursor, len(self._listing) - 1))

    def draw(self, width: int, height: int, note: str) -> Drawn:
        """The screen of a terminal; `note` is at the right of its title."""
        self._page = max(height - _AROUND, 1)
        self._cursor = max(0, min(self._cursor, len(self._listing) - 1))
        if not self._cursor - self._page < self._top <= self._cursor:
            self._top = self._cursor if self._cursor < self._top else self._cursor - self._page + 1
        self._top = max(0, min(self._top, len(self._listing) - self._page))
        shown = self._listing.make(self._top, self._top + self._page, width)
        lines: list[tuple[str, Colour | None]] = [
            (_both_ends(self._title(), note, width), "bold"),
            (heading(width), "dim"),
            *((line.text, line.colour) for line in shown),
        ]
        lines += [("", None)] * (height - 1 - len(lines))
        place = f"{self._cursor + 1:,}/{len(self._listing):,}" if len(self._listing) else ""
        lines.append((_both_ends(HELP, place, width), "dim"))
        first = 2
        cursor = first + self._cursor - self._top if shown else -1
        cut = [(fitted(text, width).rstrip(), colour) for text, colour in lines[:height]]
        return Drawn(tuple(cut), cursor if cursor < height else -1)

    def _title(self) -> str:
        order = ", sorted by rate" if self._by_rate else ""
        maps = plural(len(self._look.maps), "map")
        return f"{self._look.project}  {self._look.pin_root}  {maps}, every {self._interval:g} s{order}"

    def _listed(self) -> Listing:
        return Listing(self._look, self._rates, self._unfolded, by_rate=self._by_rate)

    def _fold(self, key: str) -> None:
        """Fold or unfold at the cursor. An entry, or `left` where nothing is unfolded, folds the list that it is in."""
        address = self._address()
        if key == "right" and (address is None or address in self._unfolded):
            return
        if address is None or (key == "left" and address not in self._unfolded):
            self._cursor = self._listing.head_of(self._cursor)
            address = self._address()
            if address not in self._unfolded:
                return
        assert address is not None
        self._unfolded ^= {address}
        self._listing = self._listed()

    def _address(self) -> Address | None:
        """What the line of the cursor folds."""
        lines = self._listing.make(self._cursor, self._cursor + 1, 80)
        return lines[0].address if lines else None

    def _fold_all(self) -> None:
        """Unfold all maps, or fold everything if all are."""
        maps: frozenset[Address] = frozenset((map_.name, b"") for map_ in self._look.maps)
        self._unfolded = frozenset() if maps <= self._unfolded else self._unfolded | maps
        self._listing = self._listed()


def _both_ends(left: str, right: str, width: int) -> str:
    """A text at each end of a line; the left one is cut."""
    room = width - len(right) - 2
    return f"{fitted(left, room)}  {right}" if right and room > 0 else left
