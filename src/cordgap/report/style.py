"""One look for every picture: a colour a role, text that matplotlib can draw."""

from __future__ import annotations

from functools import cache
from typing import Any

from cordgap.case.naming import Role

# Okabe and Ito's palette, told apart with any colour vision.
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE, YELLOW = "#E69F00", "#D55E00", "#CC79A7", "#F0E442"
BLACK, GREY = "#000000", "#767676"

_ROLE_COLOURS: dict[Role, str] = {
    "cord": BLUE,
    "cord_prv": SKY,
    "thecal_sac": PURPLE,
    "canal": GREEN,
    "gtv": VERMILION,
    "ctv": ORANGE,
    "itv": ORANGE,
    "ptv": ORANGE,
}
# Which structures a picture shows besides cord, target and what has a limit.
SHOWN_ROLES: tuple[Role, ...] = tuple(_ROLE_COLOURS)
PRESENT, REQUIRED = GREY, VERMILION
# What decompression removes, and the space around the cord that it clears.
REMOVED, SHELL = YELLOW, "#BBBBBB"

PNG_DPI = 150
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "cordgap",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


def role_colour(role: Role) -> str:
    """Return the colour of a role: the same in every picture."""
    return _ROLE_COLOURS.get(role, GREY)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def label(text: str, most: int = 40) -> str:
    """Return text as matplotlib may draw it: no mathematics, no missing glyphs, not too long."""
    flat = " ".join(text.split())
    short = flat if len(flat) <= most else flat[: most - 1] + "…"
    known = "".join(c if ord(c) in _glyphs() else "?" for c in short)
    known = known.replace("$", r"\$")
    return f" {known}" if known.startswith("_") else known
